"""Rows as a table takes them are the same whether a query made them or nothing of them had to change."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import pytest

from connectors.sinks.conform import EXTRA, conform_query, conformed, mark_json

TABLE = pa.schema(
    [
        ("event_id", pa.string()),
        ("event", pa.struct([("n", pa.int64()), ("at", pa.list_(pa.field("element", pa.int64())))])),
        ("_rescued", pa.string()),
    ]
)
PLAIN = [{"n": 1, "at": [1, None]}, None, {"n": None, "at": None}, {"n": 4, "at": []}]
FRACTION = pa.struct([("n", pa.float64()), ("at", pa.list_(pa.int64()))])
TEXT = pa.struct([("n", pa.string()), ("at", pa.list_(pa.int64()))])
TURNED = pa.struct([("at", pa.list_(pa.int64())), ("n", pa.int64())])
MORE = pa.struct([("n", pa.int64()), ("at", pa.list_(pa.int64())), ("new", pa.int64())])


@pytest.mark.parametrize(
    ("kind", "events", "extra", "json"),
    [
        (pa.struct([("n", pa.int64()), ("at", pa.list_(pa.int64()))]), PLAIN, None, ()),
        (pa.struct([("n", pa.int64()), ("at", pa.list_(pa.int64()))]), PLAIN, '"event.x":1', ()),
        (FRACTION, [{"n": 1.0, "at": None}, {"n": 2.5, "at": [1]}], None, ()),
        (TEXT, [{"n": "1", "at": None}, {"n": '"2"', "at": None}], None, (("event", "n"),)),
        (TEXT, [{"n": "a", "at": None}], None, ()),
        (TURNED, PLAIN, None, ()),
        (MORE, [{"n": 1, "at": None, "new": 2}], None, ()),
    ],
)
def test_what_need_not_change_lands_as_the_query_would_have_it(
    kind: pa.DataType, events: list[Any], extra: str | None, json: tuple[tuple[str, ...], ...]
) -> None:
    count = len(events)
    columns = {"event_id": [f"e{n}" for n in range(count)], "event": pa.array(events, kind)}
    batch = mark_json(pa.table({**columns, EXTRA: pa.array([extra] * count, pa.string())}), json)
    engine = duckdb.connect()
    engine.register("given", batch)
    asked = engine.sql(conform_query(batch.schema, TABLE, "given")).to_arrow_table().cast(TABLE)
    found = conformed(batch, TABLE, engine)
    assert found.to_pylist() == asked.to_pylist()
    assert found.schema == TABLE
