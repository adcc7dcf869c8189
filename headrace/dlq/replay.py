"""Sends the events of dead letters again: each once, whatever is killed and whenever.

Letter by letter a record goes to the log whose id the letter alone determines, and the letters go out of their table
once the log has all records of a piece. A command that is killed in between leaves its journal (`headrace.dlq.journal`);
a record that reaches the log twice all the same is a repeat to the dataflow, as with an Idempotency-Key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from connectors.errors import HeadraceError, Transient
from connectors.log.seeking import ends, records_at
from connectors.sinks.letter_table import KEY, remove
from headrace.dlq.choice import Choice, chosen
from headrace.dlq.event import CannotReplay, key_of, record_of
from headrace.dlq.journal import Intent, Journal

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from connectors.log import Log
    from connectors.record import Record
    from flows.config import Config

PIECE_ROWS, PIECE_BYTES = 20_000, 33_554_432
"""Letters sent between two commits to their table: each commit looks through the whole table."""

_READ = 1_000

_THREADS = 32  # appends under way: the log makes one commit of many


class Left(msgspec.Struct, frozen=True):
    """A letter that stays, and why."""

    event_id: str | None
    stream: str | None
    stage: str | None
    destination: str | None
    reason: str


class Replayed(msgspec.Struct):
    """`replayed` letters were sent; `finished` ones a command that was killed had sent before; the others stay."""

    replayed: int = 0
    finished: int = 0
    not_replayed: list[Left] = msgspec.field(default_factory=list)


def settle(table: DeltaTable, journal: Journal, log: Callable[[], Log]) -> int:
    """Finishes what a command that was killed had begun; how many letters it had sent."""
    sent = journal.appended(log)
    if sent is None:
        return 0
    removed = remove(table, _keys(sent))
    journal.clear()
    return removed


def replay(
    config: Config, table: DeltaTable, choice: Choice, log: Log, journal: Journal, tell: Callable[[int], None]
) -> Replayed:
    """Sends the chosen letters; `tell` is told how many at a time. Its caller is `alone` and has settled.

    Raises HeadraceError where the log or the table cannot be written; the same command, once more, goes on from there.
    """
    done = Replayed()
    for rows in _pieces(chosen(table, choice, _READ)):
        kept = _kept(rows, log)
        records: dict[str, Record] = {}
        keys: dict[str, list[Any]] = {}
        for row in rows:
            try:
                record = record_of(row, kept.get((row["topic"], row["partition"], row["offset"])), config)
            except CannotReplay as exc:
                left = Left(row["event_id"], row["stream"], row["stage"], row["destination"], str(exc))
                done.not_replayed.append(left)
                continue
            records[record.request_id], keys[record.request_id] = record, key_of(row)
        if records:
            journal.write(Intent(log.identity, ends(log), keys))
            _append(log, list(records.values()))
            remove(table, _keys(keys.values()))
            journal.clear()
        done.replayed += len(records)
        tell(len(rows))
    return done


def _pieces(letters: Iterable[pa.Table]) -> Iterator[list[dict[str, Any]]]:
    """The letters, as many together as are sent between two commits."""
    rows: list[dict[str, Any]] = []
    size = 0
    for table in letters:
        if rows and (len(rows) + table.num_rows > PIECE_ROWS or size + table.nbytes > PIECE_BYTES):
            yield rows
            rows, size = [], 0
        rows += table.to_pylist()
        size += table.nbytes
    if rows:
        yield rows


def _kept(rows: Sequence[Mapping[str, Any]], log: Log) -> dict[tuple[str, int, int], Record]:
    """What the log still has at the letters' topics, partitions and offsets."""
    numbers = {log.place(number): number for number in range(log.partitions)}
    wanted: dict[int, set[int]] = {}
    for row in rows:
        number = numbers.get((row["topic"], row["partition"]))
        if number is not None:
            wanted.setdefault(number, set()).add(row["offset"])
    if not wanted:
        return {}
    until = ends(log)
    return {
        (*log.place(partition), offset): record
        for partition, offsets in wanted.items()
        if partition in until
        for offset, record in records_at(log, partition, sorted(offsets), until[partition]).items()
    }


def _append(log: Log, records: Sequence[Record]) -> None:
    """Returns once the log has all of them."""
    with ThreadPoolExecutor(_THREADS) as pool:
        appended = [pool.submit(log.append, record) for record in records]
    failures = [exc for one in appended if (exc := one.exception()) is not None]
    for exc in failures:
        if not isinstance(exc, HeadraceError):
            raise exc
    if failures:
        raise Transient(
            f"{len(failures):,} of {len(records):,} events were not taken: {failures[0]}",
            remedy="run the command again; what was taken is not sent twice",
        ) from failures[0]


def _keys(letters: Iterable[Sequence[Any]]) -> pa.Table:
    columns = list(zip(*letters, strict=True)) or [()] * len(KEY)
    return pa.table([pa.array(values, field.type) for values, field in zip(columns, KEY, strict=True)], schema=KEY)
