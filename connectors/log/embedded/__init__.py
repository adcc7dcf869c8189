"""The embedded log: partitions and offsets in one SQLite file, for a host that runs no Kafka.

Several gateway processes append to it and several readers follow it at once; the threads of one process share its
commits (`commits.py`). An append returns when its transaction is on the disk. What it cannot do is leave the host: the
directory must be on a local disk, and its readers are processes of the same host.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from connectors.errors import Unavailable
from connectors.log import Position
from connectors.log.embedded import reader as reading
from connectors.log.embedded import times
from connectors.log.embedded.commits import GroupCommit
from connectors.log.embedded.retention import delete_chunk
from connectors.log.embedded.store import (
    PATIENCE,
    TOPIC,
    begin,
    end_offsets,
    failures_named,
    file_of,
    identity_of,
    open_store,
    roll_back,
    row_id,
)
from connectors.log.embedded.values import stored
from connectors.log.placement import keyed_partition, packed
from connectors.log.settings import EmbeddedLogSettings, LogSettings
from connectors.logger import get_logger
from connectors.record import Record, encode_replay, now_microseconds

__all__ = ["EmbeddedLog", "EmbeddedLogSettings"]

_log = get_logger()

_QUEUED_BYTES = 67_108_864  # what may wait in the memory of one process
_ROOM = 8_388_608  # bytes: with less left on the disk, a request of the full size may not fit
_CHECK_SECONDS = 1.0  # a commit this recent is proof enough that the log can be written
_RETENTION_SECONDS = 60.0
_WARNING_SECONDS = 600.0

Found = TypeVar("Found")

_INSERT = (
    "INSERT INTO records (position, received_at, count, first_index, stream, request_id, replay, size, value)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

_Row = tuple[int, int, int, int, str, str, str | None, int | None, bytes]
_Stored = tuple[Record, bytes, int | None]
"""A record, what is written of its value, and the value's size where that is compressed."""


class EmbeddedLog:
    """`Log` over SQLite. A damaged or vanished file, a full disk, a lock held long: Unavailable, until it is mended."""

    def __init__(self, settings: EmbeddedLogSettings) -> None:
        """Opens the log, and makes it where it is missing. ConfigError if it is no log, or has more partitions."""
        self._settings = settings
        self._process = os.getpid()
        self._commits: GroupCommit[list[_Stored], Position] = GroupCommit(
            self._commit,
            patience=PATIENCE,
            max_bytes=_QUEUED_BYTES,
            what=f"the log {file_of(settings.path)}",
        )
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._version = -1  # of the file, when `_ends` was read
        self._ends: list[int] = []
        self._keyed_partitions = 1
        self._turn = random.randrange(settings.partitions)  # noqa: S311 -- where a process starts to spread
        self._committed_at = float("-inf")
        self._retain_at = time.monotonic() + _RETENTION_SECONDS * random.random()  # noqa: S311 -- not all at once
        self._warned_at = float("-inf")
        try:
            self._connection = self._connect()
        except Unavailable as exc:
            _log.warning("log_unavailable", error=str(exc))  # every append tries again, and says so to its sender

    @property
    def partitions(self) -> int:
        return int(self._ask("SELECT count(*) FROM partitions")[0][0])

    def partitions_of(self, stream: str) -> Sequence[int]:  # noqa: ARG002 -- any may hold any stream's
        return range(self.partitions)

    def place(self, partition: int) -> tuple[str, int]:
        return TOPIC, partition

    def take(self, settings: LogSettings) -> None:
        pass

    @property
    def identity(self) -> str:
        (number,) = self._ask("SELECT value FROM about WHERE name = 'identity'")[0]
        return f"embedded-{number:x}"

    def committed(self, group: str) -> dict[int, int]:
        return dict(self._ask("SELECT partition, next FROM groups WHERE name = ?", group))

    def append(self, record: Record) -> Position:
        if os.getpid() != self._process:
            raise RuntimeError("the embedded log was opened before this process forked: open it afterwards")
        compress = self._settings.compression == "zstd"
        records = [
            (each, *(stored(each.value) if compress else (each.value, None)))
            for each in packed(record, self._settings.packing)
        ]
        return self._commits.submit(records, sum(len(value) for _, value, _ in records))

    def check(self) -> None:
        with failures_named(self._settings.path):
            disk = os.statvfs(self._settings.path)
        if disk.f_bavail * disk.f_frsize < _ROOM:
            raise Unavailable(f"the disk of the log is full: {self._settings.path}", remedy="free some room")
        if time.monotonic() - self._committed_at > _CHECK_SECONDS:
            self._commits.submit([], 0)

    def reader(self, partitions: Sequence[int], start: Mapping[int, int], *, group: str) -> reading.EmbeddedReader:
        return reading.EmbeddedReader(self._settings.path, self._settings.partitions, partitions, start, group)

    def keyed_requests(self, partition: int, *, since: int, before_offset: int) -> list[tuple[str, str, int, int, int]]:
        return self._looked(lambda db: reading.keyed_requests(db, partition, since=since, before_offset=before_offset))

    def bounds(self) -> dict[int, tuple[int, int]]:
        return self._looked(times.bounds)

    def offsets_at(self, instant: int) -> dict[int, int]:
        return self._looked(lambda connection: times.offsets_at(connection, instant))

    def retain(self, *, now: int | None = None) -> int:
        """Deletes what is past the limits and read by every pipeline; how many records. Appends do it by themselves."""
        connection = open_store(self._settings.path, self._settings.partitions, durable=True)
        try:
            deleted = 0
            while chunk := self._retain(connection, now_microseconds() if now is None else now):
                deleted += chunk
            return deleted
        finally:
            connection.close()

    def forget_group(self, group: str) -> None:
        """Lets retention delete what only `group` has not read: for a pipeline that will not come back."""
        connection = open_store(self._settings.path, self._settings.partitions, durable=True)
        try:
            with failures_named(self._settings.path):
                connection.execute("DELETE FROM groups WHERE name = ?", (group,))
        finally:
            connection.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self._looked(lambda connection: connection.execute(query, parameters).fetchall())

    def _looked(self, look: Callable[[sqlite3.Connection], Found]) -> Found:
        connection = open_store(self._settings.path, self._settings.partitions, durable=False)
        try:
            with failures_named(self._settings.path):
                return look(connection)
        finally:
            connection.close()

    def _commit(self, requests: list[list[_Stored]]) -> list[Position]:
        """Writes the requests in one transaction. One thread at a time is here: the leader of a group."""
        connection = self._connected()
        try:
            with failures_named(self._settings.path):
                begin(connection)
                self._refresh(connection)
                ends = self._ends.copy()
                rows: list[_Row] = []
                positions = [self._place(records, ends, rows) for records in requests]
                connection.executemany(_INSERT, rows)
                if not rows:
                    connection.execute("UPDATE about SET value = ? WHERE name = 'checked_at'", (now_microseconds(),))
                connection.execute("COMMIT")
        except BaseException:
            self._discard(connection)
            raise
        self._ends = ends
        self._committed_at = time.monotonic()
        if self._committed_at >= self._retain_at:
            self._retain_in_passing(connection)
        return positions

    def _place(self, records: list[_Stored], ends: list[int], rows: list[_Row]) -> Position:
        """Gives one request's records their offsets, all in one partition, so that they keep their order."""
        if not records:
            return Position(TOPIC, 0, ends[0])
        first = records[0][0]
        if first.keyed:
            partition = keyed_partition(first.request_id, self._keyed_partitions)
        else:
            self._turn = partition = (self._turn + 1) % len(ends)
        offset = ends[partition]
        for index, (record, value, size) in enumerate(records):
            row = row_id(partition, offset + index)
            facts = (row, record.received_at, record.count, record.first_index, record.stream, record.request_id)
            rows.append((*facts, None if record.replay is None else encode_replay(record.replay), size, value))
        ends[partition] = offset + len(records)
        return Position(TOPIC, partition, offset)

    def _refresh(self, connection: sqlite3.Connection) -> None:
        """Reads the ends again if another connection has written; in the transaction, so nothing can come between."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            query = "SELECT value FROM about WHERE name = 'keyed_partitions'"
            (self._keyed_partitions,) = connection.execute(query).fetchone()
            self._ends = end_offsets(connection)
            self._version = version

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and identity_of(self._settings.path) != self._identity:
            self._discard(self._connection)  # writing on would fill a file that nobody can read
        if self._connection is None:
            if self._identity is not None and identity_of(self._settings.path) is None:
                raise Unavailable(
                    f"the log {file_of(self._settings.path)} was removed while in use",
                    remedy="restore it, or restart to begin a new one",
                )
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = open_store(self._settings.path, self._settings.partitions, durable=True)
        self._identity = identity_of(self._settings.path)
        self._version = -1
        return connection

    def _discard(self, connection: sqlite3.Connection) -> None:
        """After a failure the connection's state is not worth knowing: the next append opens another one."""
        try:
            roll_back(connection)
            connection.close()
        except sqlite3.Error as exc:
            _log.warning("log_close_failed", error=str(exc), file=str(file_of(self._settings.path)))
        self._connection = None

    def _retain_in_passing(self, connection: sqlite3.Connection) -> None:
        """One chunk in the wake of a commit; the records of that commit are safe whatever happens here."""
        try:
            more = self._retain(connection, now_microseconds()) > 0
        except Unavailable as exc:
            _log.warning("retention_failed", error=str(exc))
            more = False
        if not more:
            self._retain_at = time.monotonic() + _RETENTION_SECONDS

    def _retain(self, connection: sqlite3.Connection, now: int) -> int:
        with failures_named(self._settings.path):
            retained = delete_chunk(connection, self._settings, now=now)
        if retained.unread and time.monotonic() - self._warned_at > _WARNING_SECONDS:
            self._warned_at = time.monotonic()
            _log.warning(
                "unread_records_kept_past_retention",
                file=str(file_of(self._settings.path)),
                retention_hours=self._settings.retention_hours,
                retention_bytes=self._settings.retention_bytes,
                remedy="run the pipelines that have not read them, or raise the limits",
            )
        return retained.deleted
