"""Reading the embedded log: short read transactions, and almost nothing while there is nothing new."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from connectors.errors import HeadraceError, Transient, Unavailable
from connectors.log import Block
from connectors.log.embedded.store import (
    begin,
    end_offsets,
    failures_named,
    file_of,
    identity_of,
    offset_of,
    open_store,
    roll_back,
    row_id,
)
from connectors.log.embedded.values import Values
from connectors.logger import get_logger
from connectors.record import Record, decode_replay, now_microseconds

_log = get_logger()

_COMMIT_PATIENCE = 1.0  # seconds: a commit is best effort, and the dataflow waits for it

_SELECT = (
    "SELECT position, stream, request_id, received_at, count, value, size, first_index, replay FROM records"
    " WHERE position >= ? AND position < ? ORDER BY position"
)


class EmbeddedReader:
    """A `Reader` of the embedded log; its connection is its own."""

    def __init__(
        self, directory: Path, all_partitions: int, partitions: Sequence[int], start: Mapping[int, int], group: str
    ) -> None:
        self._directory = directory
        self._group = group
        self._values = Values()
        self._connection = open_store(directory, all_partitions, durable=False)
        self._identity = identity_of(directory)
        self._idle: dict[int, int] = {}  # partition -> the state of the file in which it had nothing more
        self._untold = set(partitions) - set(start)  # partitions that began at an offset which the caller does not know
        try:
            with failures_named(directory):
                first = dict(self._connection.execute("SELECT partition, first FROM partitions"))
                ends = end_offsets(self._connection)
            self._next = {partition: start.get(partition, first.get(partition, 0)) for partition in partitions}
            for partition, offset in self._next.items():
                if partition not in first:
                    raise HeadraceError(f"the log {file_of(directory)} has no partition {partition}")
                self._refuse_gap(partition, offset, first[partition], ends[partition])
        except BaseException:
            self._connection.close()
            raise

    def read(self, partition: int, *, max_bytes: int) -> Block | None:
        position = self._next[partition]
        with failures_named(self._directory):
            (state,) = self._connection.execute("PRAGMA data_version").fetchone()
            if self._idle.get(partition) == state:
                self._refuse_removed()
                return None
            offsets, records = self._rows(partition, position, max_bytes)
            if not offsets or offsets[0] != position:
                query = "SELECT first FROM partitions WHERE partition = ?"
                (first,) = self._connection.execute(query, (partition,)).fetchone()
                self._refuse_gap(partition, position, first)
        if not offsets and partition in self._untold and position:
            self._untold.discard(partition)  # all it ever held was deleted: who waits for its end is there
            return Block(partition, [], [], position)
        if not offsets:
            self._idle[partition] = state
            return None
        self._next[partition] = offsets[-1] + 1
        return Block(partition, offsets, records, offsets[-1] + 1)

    def end_offsets(self) -> dict[int, int]:
        with failures_named(self._directory):
            ends = end_offsets(self._connection)
        return {partition: ends[partition] for partition in self._next}

    def commit(self, offsets: Mapping[int, int]) -> None:
        # Without `synchronous=FULL`, so it costs no fsync: a commit that is lost makes retention keep more, no less.
        now = now_microseconds()
        rows = [(self._group, partition, offset, now) for partition, offset in offsets.items()]
        self._publish("INSERT OR REPLACE INTO groups VALUES (?, ?, ?, ?)", rows)

    def forget(self) -> None:
        self._publish("DELETE FROM groups WHERE name = ?", [(self._group,)])

    def _publish(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        try:
            begin(self._connection, patience=_COMMIT_PATIENCE)
            self._connection.executemany(statement, rows)
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as exc:
            roll_back(self._connection)
            _log.warning("offsets_not_published", group=self._group, error=str(exc), file=str(file_of(self._directory)))

    def close(self) -> None:
        self._connection.close()

    def _rows(self, partition: int, position: int, max_bytes: int) -> tuple[list[int], list[Record]]:
        offsets: list[int] = []
        records: list[Record] = []
        size = 0
        cursor = self._connection.execute(_SELECT, (row_id(partition, position), row_id(partition + 1, 0)))
        try:
            for row, stream, request_id, received_at, count, written, packed, first_index, replay in cursor:
                offsets.append(offset_of(row))
                value = self._value(row, written, packed)
                again = None if replay is None else decode_replay(replay)
                records.append(Record(stream, request_id, received_at, count, value, first_index, again))
                size += len(value)
                if size >= max_bytes:
                    break
        finally:
            cursor.close()  # ends the read transaction: an open one would keep the WAL from being emptied
        return offsets, records

    def _value(self, row: int, written: bytes, size: int | None) -> bytes:
        try:
            return self._values.read(written, size)
        except ValueError as exc:
            raise Unavailable(
                f"the log is damaged: {file_of(self._directory)}, record {offset_of(row)} of partition {row >> 48} ({exc})",
                remedy="move its directory away, or restore it, and start again",
            ) from exc

    def _refuse_gap(self, partition: int, wanted: int, first: int, end: int | None = None) -> None:
        where = f"partition {partition} of {file_of(self._directory)}"
        if wanted < first:
            raise HeadraceError(
                f"{first - wanted:,} records of {where} were deleted before '{self._group}' read them"
                f" (offsets {wanted} to {first - 1})",
                remedy="raise log.embedded.retention_hours, and start from what is left",
            )
        if end is not None and wanted > end:
            raise HeadraceError(
                f"'{self._group}' has read to offset {wanted} of {where}, which ends at {end}:"
                " it is not the log that was read before",
                remedy="restore that log, or start the pipeline anew with other destinations",
            )

    def _refuse_removed(self) -> None:
        if identity_of(self._directory) != self._identity:
            raise Transient(
                f"the log {file_of(self._directory)} was removed or replaced while it was read",
                remedy="restore it, and start again",
            )


def keyed_requests(
    connection: sqlite3.Connection, partition: int, *, since: int, before_offset: int
) -> list[tuple[str, str, int, int, int]]:
    """As `Log.keyed_requests`, from the index that only keyed requests are in."""
    rows = connection.execute(
        "SELECT stream, request_id, first_index, received_at, position FROM records INDEXED BY keyed"
        " WHERE position >> 48 = ? AND received_at >= ? AND position < ?"
        " AND substr(request_id, 15, 1) = '8' ORDER BY position",
        (partition, since, row_id(partition, before_offset)),
    )
    return [
        (stream, request_id, first_index, received_at, offset_of(position))
        for stream, request_id, first_index, received_at, position in rows
    ]
