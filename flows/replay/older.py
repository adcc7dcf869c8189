"""Which rows of a table came from records that the log does not hold any more, so that no replay brings them again.

A row does not say from which offset it came, only when it was received. Before the oldest record that is left everything
is gone; up to the latest of the partitions' oldest ones it depends on the partition, so there the log is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from connectors.dedupe import CLOCK_SKEW
from connectors.log import Log
from connectors.log.seeking import between, oldest_received
from connectors.record import Record
from connectors.sinks.evolve import plain_schema
from connectors.sinks.there import There, delta_scan
from flows.config import Stream

_LAST = datetime(9999, 12, 31, tzinfo=UTC)


class Older(msgspec.Struct, frozen=True):
    """Rows received up to `high` that come of none of `requests`, the first ones that the log has."""

    high: datetime
    requests: pa.Array

    def of(self, rows: pa.Table) -> pa.Table:
        """Those of the rows that the log holds no more."""
        request = pc.replace_substring_regex(rows["event_id"], "-[0-9]+$", "")
        known = pc.is_in(request, value_set=self.requests)
        return rows.filter(pc.and_(pc.less_equal(rows["received_at"], self.high), pc.invert(known)))

    def rows(self, table: DeltaTable, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Those rows of a table, in parts."""
        names = columns or [field.name for field in table.schema().fields]
        for batch in delta_scan(table)(names, "received_at", None, self.high):
            part = pa.table(batch)
            found = self.of(part.cast(plain_schema(part.schema)))
            if found.num_rows:
                yield found

    def count(self, table: DeltaTable) -> tuple[int, datetime | None, datetime | None]:
        """(how many there are, the earliest and the latest time of receipt)."""
        count, first, last = 0, None, None
        for part in self.rows(table, ["event_id", "received_at"]):
            low, high = pc.min_max(part["received_at"]).as_py().values()
            count += part.num_rows
            first, last = min(first or low, low), max(last or high, high)
        return count, first, last


def older_than(log: Log, stream: Stream) -> Older:
    """What the log holds no more of a stream. Ask after the table was opened. Raises HeadraceError while it cannot be read."""
    own = set(log.partitions_of(stream.id))
    bounds = {p: ends for p, ends in log.bounds().items() if p in own and ends[0] < ends[1]}
    oldest = oldest_received(log, {p: first for p, (first, _) in bounds.items()})
    if not oldest:
        return Older(_LAST, pa.array([], pa.string()))
    high = max(oldest) + CLOCK_SKEW
    repeats = high + round(stream.dedupe_window.total_seconds() * 1e6)  # up to there one may stand for what is gone
    requests = {
        record.request_id
        for p, (first, end) in bounds.items()
        for record in _up_to(log, p, first, end, repeats)
        if record.stream == stream.id and (record.keyed or record.received_at <= high)
    }
    return Older(datetime.fromtimestamp(high / 1e6, UTC), pa.array(sorted(requests), pa.string()))


def _up_to(log: Log, partition: int, start: int, end: int, until: int) -> Iterator[Record]:
    """The records of a partition up to those received at `until`, and perhaps some more."""
    for _, record in between(log, partition, start, end):
        if record.received_at > until + CLOCK_SKEW:
            return
        yield record


def as_staged(rows: pa.Table, engine: duckdb.DuckDBPyConnection) -> pa.Table:
    """Rows of a table as a pipeline hands them on: what was rescued is to be given its place, or rescued again."""
    names = [name for name in rows.column_names if name != "_rescued"]
    rescued = "CASE WHEN length(_rescued) > 2 THEN substr(_rescued, 2, length(_rescued) - 2) END AS _extra"
    engine.register("older", rows)
    try:
        listed = ", ".join(f'"{name}"' for name in names)
        return engine.sql(f"SELECT {listed}, {rescued} FROM older").to_arrow_table()
    finally:
        engine.unregister("older")


def without(rows: pa.Table, there: There | None) -> pa.Table:
    """The rows that are not there."""
    return rows if there is None else rows.filter(pc.invert(there.has(rows)))
