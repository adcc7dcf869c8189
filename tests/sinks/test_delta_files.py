"""What a Delta table's log says of its files: bounds that hold for every row, or readers would leave out rows."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.sinks.delta_files import INDEXED
from connectors.sinks.settings import DeltaDestination
from tests.sinks.tables import STREAM, Dataflow, read_table


def event(number: int, **more: Any) -> dict[str, Any]:
    stamp = f"2025-02-12T14:32:15.{number:06d}Z"
    return {"source": f"s{number % 2}", "timestamp": stamp, "event": {"n": number, **more}}


def added(lake: Path) -> list[dict[str, Any]]:
    """The statistics of the files that the newest commit has added."""
    newest = max((lake / STREAM / "_delta_log").glob("*.json"))
    actions = [json.loads(line, parse_float=Decimal) for line in newest.read_text().splitlines()]
    return [json.loads(action["add"]["stats"], parse_float=Decimal) for action in actions if "add" in action]


def taken(lake: Path, events: list[dict[str, Any]], **types: str) -> dict[str, Any]:
    """The statistics of the one file that `events` become in a table that is there."""
    dataflow = Dataflow(lake, types={f"event.{name}": kind for name, kind in types.items()})
    dataflow.take(events)
    dataflow.take(events)
    (stats,) = added(lake)
    return stats


def test_bounds_and_nulls_are_those_of_the_rows(tmp_path: Path) -> None:
    events = [event(1, t="b", f=1.5, o={"p": True}), event(2001, t="a", f=-2.5, l=[1]), event(999_999, d="12.50")]
    stats = taken(tmp_path, events, d="DECIMAL(18,2)")
    assert stats["numRecords"] == 3
    least, most, nulls = stats["minValues"], stats["maxValues"], stats["nullCount"]
    assert (least["event"]["n"], most["event"]["n"], nulls["event"]["n"]) == (1, 999_999, 0)
    assert (least["event"]["t"], most["event"]["t"], nulls["event"]["t"]) == ("a", "b", 1)
    assert (least["event"]["f"], most["event"]["f"]) == (Decimal("-2.5"), Decimal("1.5"))
    assert (least["event"]["d"], most["event"]["d"], nulls["event"]["d"]) == (Decimal("12.50"), Decimal("12.50"), 2)
    assert nulls["event"]["o"] == {"p": 2}
    assert nulls["_rescued"] == 3
    assert "_rescued" not in least
    assert "l" not in nulls["event"]
    # to the millisecond, outwards
    assert (least["timestamp"], most["timestamp"]) == ("2025-02-12T14:32:15.000Z", "2025-02-12T14:32:16.000Z")


def test_a_long_text_is_cut_below_and_has_no_bound_above(tmp_path: Path) -> None:
    stats = taken(tmp_path, [event(1, t="z" * 200)])
    assert stats["minValues"]["event"]["t"] == "z" * 64
    assert "t" not in stats["maxValues"]["event"]


def test_a_wide_table_has_statistics_of_its_first_columns_alone(tmp_path: Path) -> None:
    stats = taken(tmp_path, [event(1, **{f"c{number:03d}": number for number in range(200)})])
    assert len(stats["nullCount"]["event"]) < INDEXED
    assert "c000" in stats["minValues"]["event"]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.text(max_size=80), st.text("\U0010ffffé", max_size=70)), min_size=1, max_size=5)
)
@example(["\U0010ffff" * 70])
def test_a_reader_that_goes_by_the_bounds_finds_every_row(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str | None]
) -> None:
    lake = tmp_path_factory.mktemp("lake")
    taken(lake, [event(0, t="x"), *(event(number, t=text) for number, text in enumerate(texts))])
    table = DeltaTable(str(lake / STREAM))
    for text in {text for text in texts if text is not None}:
        said = text.replace("'", "''")
        found = QueryBuilder().register("t", table).execute(f"SELECT event_id FROM t WHERE event['t'] = '{said}'")
        assert pa.table(found.read_all()).num_rows == 2 * ([*texts, "x"].count(text))


def test_rows_are_in_the_files_of_their_partitions_in_their_order(tmp_path: Path) -> None:
    destination = DeltaDestination(uri=f"{tmp_path}/{{stream}}", partition_by=("source", "date"))
    dataflow = Dataflow(destination)
    dataflow.take([event(0)])
    dataflow.take([event(number) for number in range(1, 9)])
    files = {path: pq.read_table(path) for path in (tmp_path / STREAM).rglob("*.parquet") if "_delta" not in str(path)}
    numbers = {
        str(path.parent.relative_to(tmp_path / STREAM)): [row["event"]["n"] for row in file.to_pylist()]
        for path, file in files.items()
        if file.num_rows > 1
    }
    assert numbers == {"source=s0/date=2025-02-12": [2, 4, 6, 8], "source=s1/date=2025-02-12": [1, 3, 5, 7]}
    assert not any({"source", "date"} & set(pq.ParquetFile(path).schema_arrow.names) for path in files)
    assert len(read_table(tmp_path / STREAM)) == 9


def test_a_partition_may_have_any_name(tmp_path: Path) -> None:
    destination = DeltaDestination(uri=f"{tmp_path}/{{stream}}", partition_by=("source",))
    dataflow = Dataflow(destination)
    names = ["a b", "a/b", "a%20b", "ü=1:2?#&+", "..", "\U0010ffff", "line\nend", '"quoted"', "C:\\x", " "]
    for _ in range(3):  # the first makes the table: Delta's own writer, whose names the others must read as well
        dataflow.take([{"source": name, "event": {"n": number}} for number, name in enumerate(names)])
    rows = read_table(tmp_path / STREAM)
    assert sorted((row["source"], row["event"]["n"]) for row in rows) == sorted(
        (name, number) for number, name in enumerate(names) for _ in range(3)
    )
    table = DeltaTable(str(tmp_path / STREAM))
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert len(read_table(tmp_path / STREAM)) == 3 * len(names)
    for name in names:
        found = table.to_pyarrow_table(filters=[("source", "=", name)])
        assert found.num_rows == 3
