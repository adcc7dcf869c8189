"""What has landed is the same to everyone who reads it: deltalake, DuckDB, pandas, Polars and Arrow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.sinks.tables import STREAM, Dataflow

EVENTS = [
    {"n": 1, "amount": 12.5, "text": "naïve ☃ 𝄞 \u0000", "on": True, "list": [1, 2], "deep": {"a": {"b": "x"}}},
    {"n": -(2**62), "amount": 1e-300, "text": "", "on": False, "list": [], "deep": {"a": {"b": None}, "c": 1}},
    {"n": None, "amount": -0.5, "text": 'quo"te\n', "list": [None, 3], "deep": None},
    {},
]
LATER = [
    {"n": 5, "price": "12.30", "at": "2025-03-01T10:00:00.123456+02:00", "new": {"x": [{"y": 1}, {"y": None}]}},
    {"n": "no number", "price": "0.01", "at": "1969-12-31T23:59:59.999999Z", "deep": {"a": {"b": "y", "z": 2.5}}},
]
TYPES = {"event.price": "DECIMAL(18,2)", "event.at": "TIMESTAMP WITH TIME ZONE"}
DAYS = ["2025-02-12T14:32:15.000001Z", "2024-02-29T23:59:59.999999Z"]

PRINTS = """
import json, sys
from datetime import date, datetime, timezone
from decimal import Decimal
import numpy as np

def plain(value):
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, datetime):
        assert value.tzinfo is not None, value
        return value.astimezone(timezone.utc).isoformat(timespec="microseconds")
    if isinstance(value, (date, Decimal)):
        return str(value)
    if isinstance(value, dict):
        found = {key: plain(one) for key, one in value.items()}
        return None if all(one is None for one in found.values()) else found
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value

table = sys.argv[1]
READ
for row in sorted(map(plain, rows), key=lambda row: row["event_id"]):
    print(json.dumps(row, sort_keys=True, default=repr), flush=True)
"""

READERS = {
    "deltalake": """
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
read = QueryBuilder().register("t", DeltaTable(table)).execute("SELECT * FROM t").read_all()
rows = pa.table(read).to_pylist()
""",
    "scan": """
import pyarrow as pa
from deltalake import DeltaTable
rows = pa.table(DeltaTable(table).scan()).to_pylist()
""",
    "duckdb": """
import duckdb
from deltalake import DeltaTable
duckdb.execute("SET TimeZone = 'UTC'")
query = "SELECT * FROM read_parquet($files, union_by_name = true, hive_partitioning = true)"
rows = duckdb.sql(query, params={"files": DeltaTable(table).file_uris()}).to_arrow_table().to_pylist()
""",
    "pandas": """
import pandas as pd, pyarrow as pa
from deltalake import DeltaTable
frame = pa.table(DeltaTable(table).scan()).to_pandas(types_mapper=pd.ArrowDtype)
rows = [{name: None if value is pd.NA else value for name, value in row.items()} for row in frame.to_dict("records")]
""",
    "polars": """
import polars as pl
rows = pl.scan_delta(table).collect().to_dicts()
""",
    "arrow": """
import pyarrow as pa, pyarrow.dataset as ds
from deltalake import DeltaTable
delta = DeltaTable(table)
schema = pa.schema(delta.schema().to_arrow())
rows = ds.dataset(delta.file_uris(), schema=schema, partitioning=ds.partitioning(
    pa.schema([schema.field("date")]), flavor="hive"), partition_base_dir=table).to_table().to_pylist()
""",
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table that has grown columns, over two days, in several commits and partitions of the log."""
    path = tmp_path_factory.mktemp("lake")
    flow = Dataflow(path, types=TYPES)
    for number, (day, partition) in enumerate([(DAYS[0], 0), (DAYS[1], 1)]):
        flow.take([_event(one, day, number) for one in EVENTS], partition=partition)
        flow.take([_event(one, day, number) for one in LATER], partition=partition)
    return path / STREAM


def _event(event: dict[str, Any], day: str, number: int) -> dict[str, Any]:
    metadata = {"metadata": {"team": "a", "number": number}} if number else {}
    return {"timestamp": day, "source": "reader", "event": event, **metadata}


def read(reader: str, table: Path) -> list[dict[str, Any]]:
    """The rows as plain values; an object whose every field is NULL is nothing, as some readers cannot tell them apart."""
    program = PRINTS.replace("READ", READERS[reader])
    done = subprocess.run([sys.executable, "-c", program, str(table)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_rows_are_what_was_sent(lake: Path) -> None:
    rows = read("deltalake", lake)
    assert len(rows) == 2 * (len(EVENTS) + len(LATER))
    first = next(row for row in rows if (row["event"] or {}).get("n") == 1)
    assert first["event"]["text"] == EVENTS[0]["text"]
    assert (first["date"], first["timestamp"]) == ("2025-02-12", "2025-02-12T14:32:15.000001+00:00")
    late = [row["event"] for row in rows if (row["event"] or {}).get("price") is not None]
    assert sorted({one["price"] for one in late}) == ["0.01", "12.30"]
    assert {one["at"] for one in late} == {"2025-03-01T08:00:00.123456+00:00", "1969-12-31T23:59:59.999999+00:00"}
    assert {row["_rescued"] for row in rows} == {None, '{"event.n":"no number"}'}


@pytest.mark.parametrize("reader", [name for name in READERS if name != "deltalake"])
def test_every_reader_has_the_same_rows(reader: str, lake: Path) -> None:
    assert read(reader, lake) == read("deltalake", lake)
