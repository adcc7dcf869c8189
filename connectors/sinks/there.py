"""Which rows a destination has already: asked of its tables as they were at one moment.

A table is read only where it can have a row of the batch at hand: between the earliest and the latest time of receipt in
it (of a rollup: of its windows), which an event's row keeps whatever the pipeline makes of the event. So memory and time
go with the batch, and not with the table.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from connectors.errors import Transient
from connectors.sinks import dead_letters
from connectors.sinks.dead_letters import NAME
from connectors.sinks.settings import DeltaDestination, ParquetDestination
from connectors.sinks.upkeep import open_table

_KEYED = "8"  # the digit of a request id that was made of an Idempotency-Key (`connectors.record`)


class Scan(Protocol):
    """The rows of a table as it was at one moment."""

    def __call__(self, columns: Sequence[str], time: str, /, low: datetime | None, high: datetime | None) -> Any:
        """Those whose `time` lies between `low` and `high`, both included, and perhaps more, as a RecordBatchReader."""


class Among(Protocol):
    """Which events a table has. Threads may share it. Raises HeadraceError."""

    def __call__(self, ids: pa.ChunkedArray, /, low: datetime | None, high: datetime) -> pa.Array:
        """Those of the `event_id`s that are in a row whose time lies between `low` and `high`, both included."""


class There:
    """The `event_id`s of one table. Threads may share it."""

    def __init__(self, among: Among, time: str, *, repeats_until: datetime | None = None) -> None:
        """`time` is the column that tells a row's time.

        Up to `repeats_until` a request with a key may stand for one that came long before it and that the log does not
        hold any more: the row of its event has the time of that one.
        """
        self._among = among
        self._time = time
        self._repeats_until = repeats_until

    def has(self, rows: pa.Table) -> pa.ChunkedArray:
        """For each of the rows whether the table has it."""
        low, high = pc.min_max(rows[self._time]).as_py().values()
        found = self._among(rows["event_id"], low, high)
        if self._repeats_until is not None and low <= self._repeats_until:
            keyed = pc.equal(pc.utf8_slice_codeunits(rows["event_id"], 14, 15), _KEYED)
            early = pc.and_(keyed, pc.less_equal(rows[self._time], self._repeats_until))
            found = pa.concat_arrays([found, self._among(rows.filter(early)["event_id"], None, high)])
        return pc.is_in(rows["event_id"], value_set=found)


class Scanned:
    """The events of a table that is read (implements `Among`); `time` is the column that tells a row's time."""

    def __init__(self, scan: Scan, time: str) -> None:
        self._scan = scan
        self._time = time
        self._engine = duckdb.connect(config={"threads": 1})
        self._engine.execute("SET TimeZone = 'UTC'")
        self._lock = threading.Lock()

    def __call__(self, ids: pa.ChunkedArray, low: datetime | None, high: datetime) -> pa.Array:
        with self._lock:
            self._engine.register("mine", pa.table({"event_id": ids}))
            self._engine.register("theirs", self._scan(["event_id"], self._time, low, high))
            try:
                found = self._engine.sql(
                    "SELECT DISTINCT event_id FROM theirs WHERE event_id IN (SELECT event_id FROM mine)"
                ).to_arrow_table()
            finally:
                self._engine.unregister("mine")
                self._engine.unregister("theirs")
        return _plain(found["event_id"])


class Letters:
    """The dead letters that are there: of the same event, stage, step and destination. Threads may share it."""

    _KEY = "concat_ws(chr(31), event_id, stage, coalesce(step, ''), coalesce(destination, ''))"

    def __init__(self, table: DeltaTable | None, stream: str) -> None:
        self._table = table
        self._stream = stream
        self._engine = duckdb.connect(config={"threads": 1})
        self._lock = threading.Lock()

    def fresh(self, letters: pa.Table) -> pa.Table:
        """Those of the letters (`dead_letters.SCHEMA`) that are not there."""
        if self._table is None or not letters.num_rows:
            return letters
        low, high = pc.min(letters["offset"]).as_py(), pc.max(letters["offset"]).as_py()
        name = self._stream.replace("'", "''")
        where = f'stream = \'{name}\' AND "offset" >= {low} AND "offset" <= {high}'
        with self._lock:
            self._engine.register("mine", letters.select([*dead_letters.SCHEMA.names]))
            self._engine.register("theirs", _delta(self._table, ["event_id", "stage", "step", "destination"], where))
            try:
                key, mine = self._KEY, f"SELECT {self._KEY} FROM mine"
                found = self._engine.sql(f"SELECT DISTINCT {key} AS k FROM theirs WHERE {key} IN ({mine})")
                there = _plain(found.to_arrow_table()["k"])
                keys = self._engine.sql(mine.replace(key, f"{key} AS k")).to_arrow_table()["k"]
            finally:
                self._engine.unregister("mine")
                self._engine.unregister("theirs")
        return letters.filter(pc.invert(pc.is_in(_plain(keys), value_set=there)))


def letters_of(settings: DeltaDestination, stream: str) -> Letters:
    """The dead letters of a stream, as they are now. Raises Transient."""
    return Letters(open_table(settings, NAME), stream)


def delta_scan(table: DeltaTable) -> Scan:
    """The rows of a Delta table at the version that it was opened at."""

    def scan(columns: Sequence[str], time: str, low: datetime | None, high: datetime | None) -> Any:
        bounds = [] if low is None else [f"{time} >= '{low.isoformat()}'"]
        bounds += [] if high is None else [f"{time} <= '{high.isoformat()}'"]
        return _delta(table, columns, " AND ".join(bounds) or None)

    return scan


def _delta(table: DeltaTable, columns: Sequence[str], where: str | None) -> Any:
    try:
        return pa.RecordBatchReader.from_stream(table.scan(columns=list(columns), predicate=where))
    except (DeltaError, OSError) as exc:
        raise Transient(f"reading {table.table_uri}: {exc}") from exc


class _Group(msgspec.Struct, frozen=True):
    file: str
    number: int
    low: datetime | None
    high: datetime | None


def parquet_scan(destination: ParquetDestination, table: str, time: str) -> Scan | None:
    """The rows of the Parquet files that a stream (or a rollup) has now; None where it has none. Raises Transient."""
    open_file, files = _files(destination, table)
    groups = [group for file in files for group in _groups(open_file, file, time)]
    if not groups:
        return None

    def scan(columns: Sequence[str], _: str, low: datetime | None, high: datetime | None) -> Any:
        def batches() -> Iterator[pa.RecordBatch]:
            for group in groups:
                if low is not None and group.high is not None and group.high < low:
                    continue
                if high is not None and group.low is not None and group.low > high:
                    continue
                with _opened(open_file, group.file) as file:
                    yield from file.read_row_group(group.number, columns=list(columns)).cast(schema).to_batches()

        schema = pa.schema([(column, pa.string()) for column in columns])
        return pa.RecordBatchReader.from_batches(schema, batches())

    return scan


def _groups(open_file: Callable[[str], Any], name: str, time: str) -> Iterator[_Group]:
    with _opened(open_file, name) as file:
        at = file.schema_arrow.get_field_index(time)
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            told = [
                stats
                for place in range(group.num_columns)
                if group.column(place).path_in_schema == time and (stats := group.column(place).statistics) is not None
            ]
            known = at >= 0 and told and told[0].has_min_max
            yield _Group(name, number, told[0].min if known else None, told[0].max if known else None)


def _opened(open_file: Callable[[str], Any], name: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(open_file(name))
    except (OSError, pa.ArrowInvalid) as exc:
        raise Transient(f"reading {name}: {exc}") from exc


def _files(destination: ParquetDestination, table: str) -> tuple[Callable[[str], Any], list[str]]:
    if destination.is_local:
        from pathlib import Path

        return lambda name: name, sorted(str(file) for file in Path(destination.table_uri(table)).rglob("*.parquet"))
    from connectors.sinks.probe import filesystem  # S3's client takes a second to import

    files = filesystem(destination)
    try:
        found = files.find(destination.table_uri(table).replace("s3a://", "s3://"))
    except FileNotFoundError:
        found = []
    except OSError as exc:
        raise Transient(f"listing {destination.table_uri(table)}: {exc}") from exc
    return lambda name: files.open(name, "rb"), sorted(name for name in found if name.endswith(".parquet"))


def _plain(found: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays([pa.array([], pa.string()), *found.cast(pa.string()).chunks])
