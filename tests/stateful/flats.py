"""Events between two steps, and what operators give back, as plain Python values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from flows.columns import SYSTEM, Columns, Path, dotted
from flows.engine import open_engine
from flows.stateful.operator import Flat, Operator

START = 1_714_521_600_000_000  # 2024-05-01T00:00:00Z, in microseconds
SECOND = 1_000_000

_ARROW = {
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "JSON": pa.string(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    "MAP(VARCHAR, JSON)": pa.map_(pa.string(), pa.string()),
    "DECIMAL(18,2)": pa.decimal128(18, 2),
}


def flat(events: Sequence[Mapping[str, Any]], columns: Columns | None = None) -> Flat:
    """Events, each a mapping of dotted path to value. `t` and `r` stand for time and receipt, in seconds after START.

    `columns` are those below `event` and `metadata`; the others are there anyway.
    """
    every: dict[Path, str] = {**SYSTEM, **(columns or {})}
    arrays = {}
    for path, kind in every.items():
        values = [_value(event, dotted(path), number) for number, event in enumerate(events)]
        arrays[dotted(path)] = pa.array(values, _ARROW[kind])
    return Flat(pa.table(arrays), every)


def _value(event: Mapping[str, Any], name: str, number: int) -> Any:
    t = event["t"]
    usual = {
        "event_id": event.get("id", f"e{number}"),
        "timestamp": START + round(t * SECOND),
        "received_at": START + round(event.get("r", t) * SECOND),
        "source": "s",
        "stream": "web",
        "_offset": number,
        "_sample_rate": 1.0,
    }
    return event[name] if name in event else usual.get(name)


def rows(flats: Iterable[Flat]) -> list[dict[str, Any]]:
    """The rows of all, by dotted path, without what is NULL."""
    found = []
    for one in flats:
        assert one.table.column_names == [dotted(path) for path in one.columns]
        found += [{name: value for name, value in row.items() if value is not None} for row in one.table.to_pylist()]
    return found


def reopened(held: dict[str, pa.Table], operator: Operator, fresh: Operator) -> Operator:
    """`fresh`, with the state of `operator` as it has been kept in `held`, as it is after a crash."""
    keep(held, operator)
    fresh.restore({name: _through_ipc(table) for name, table in held.items()})
    return fresh


def keep(held: dict[str, pa.Table], operator: Operator) -> int:
    """Puts the changes of an operator's state to what is kept; how many rows that were."""
    changes = operator.changes()
    for name in changes.gone:
        del held[name]
    held.update(changes.put)
    return sum(table.num_rows for table in changes.put.values())


def _through_ipc(table: pa.Table) -> pa.Table:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def engine() -> duckdb.DuckDBPyConnection:
    """An engine as pipelines have it."""
    return open_engine()
