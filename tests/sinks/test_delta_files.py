"""What a Delta table's log says of its files: bounds that hold for every row, or readers would leave out rows."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.errors import Transient
from connectors.sinks import delta_files
from connectors.sinks.delta import EVENTS
from connectors.sinks.delta_open import OpenTable
from connectors.sinks.delta_statistics import INDEXED
from connectors.sinks.settings import DeltaDestination, Maintenance
from connectors.sinks.store import LocalStore
from connectors.sinks.upkeep import compact, vacuum
from tests.services.seaweedfs import SeaweedFS
from tests.sinks.tables import STREAM, Dataflow, dead_letters_below, read_table
from tests.sinks.test_store import lake

NOW = datetime.now(UTC)


def event(number: int, **more: Any) -> dict[str, Any]:
    stamp = f"2025-02-12T14:32:15.{number:06d}Z"
    return {"source": f"s{number % 2}", "timestamp": stamp, "event": {"n": number, **more}}


def ours(table: Path) -> set[Path]:
    """The files of a table that Arrow has written."""
    files = {path for path in table.rglob("*.parquet") if "_delta_log" not in path.parts}
    return {path for path in files if pq.read_metadata(path).created_by.startswith("parquet-cpp-arrow")}


def added(table: Path) -> list[dict[str, Any]]:
    """The statistics of the files that the newest commit has added."""
    newest = max((table / "_delta_log").glob("*.json"))
    actions = [json.loads(line, parse_float=Decimal) for line in newest.read_bytes().splitlines()]
    return [json.loads(action["add"]["stats"], parse_float=Decimal) for action in actions if "add" in action]


def taken(lake: Path, events: list[dict[str, Any]], **types: str) -> dict[str, Any]:
    """The statistics of the one file that `events` become in a table that is there."""
    dataflow = Dataflow(lake, types={f"event.{name}": kind for name, kind in types.items()})
    dataflow.take(events)
    dataflow.take(events)
    (stats,) = added(lake / STREAM)
    return stats


def appended(place: Path, column: pa.Array) -> DeltaTable:
    """A table with one file: the column at the top and within an object."""
    rows = pa.table({"top": column, "o": pa.StructArray.from_arrays([column], ["p"])})
    table = DeltaTable.create(str(place), rows.schema)
    OpenTable(table, lambda: table, lambda _: LocalStore(place)).append(rows, {"a": 1}, grows=False)
    return DeltaTable(str(place))


def arrow(table: DeltaTable, query: str) -> pa.Table:
    return pa.table(QueryBuilder().register("t", table).execute(query).read_all())


def plain(value: pa.Scalar) -> Any:
    """Its number where it is a moment: not all of them are Python's."""
    return value.value if pa.types.is_temporal(value.type) else value.as_py()


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


def test_a_long_text_has_no_bounds(tmp_path: Path) -> None:
    stats = taken(tmp_path, [event(1, t="z" * 200, u="z" * 20)])
    assert not {"t"} & {*stats["minValues"]["event"], *stats["maxValues"]["event"]}
    assert stats["minValues"]["event"]["u"] == "z" * 20


def test_a_wide_table_has_statistics_of_its_first_columns_alone(tmp_path: Path) -> None:
    stats = taken(tmp_path, [event(1, **{f"c{number:03d}": number for number in range(200)})])
    assert len(stats["nullCount"]["event"]) < INDEXED
    assert "c000" in stats["minValues"]["event"]


def test_lists_before_a_column_do_not_shift_its_bounds(tmp_path: Path) -> None:
    stats = taken(tmp_path, [event(1, a=[{"x": 1, "y": ["q"], "z": {"w": 2}}], b=[[7]], c=5)])
    assert stats["minValues"]["event"] == {"c": 5, "n": 1}


VALUES: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.string(), st.one_of(st.text(max_size=80), st.text("\U0010ffffé~", max_size=70))),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.float64(), st.one_of(st.floats(), st.sampled_from([0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324]))),
    (pa.float32(), st.floats(width=32)),
    (pa.bool_(), st.booleans()),
    (pa.date32(), st.dates()),
    (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(UTC))),
    (pa.timestamp("us", "UTC"), st.integers(-(2**63), 2**63 - 1)),
    (pa.decimal128(38, 18), st.decimals(-(10**19), 10**19, places=18)),
    (pa.decimal128(9, 2), st.decimals(-999, 999, places=2)),
    (pa.binary(), st.binary(max_size=4)),
]
COLUMNS = st.one_of(
    *(
        st.lists(st.none() | values, min_size=1, max_size=6).map(lambda found, kind=kind: pa.array(found, kind))  # type: ignore[misc]
        for kind, values in VALUES
    )
)


@settings(max_examples=100)
@given(COLUMNS)
@example(pa.array([1.0, math.nan]))
@example(pa.array([Decimal("0.000000000000000001")], pa.decimal128(38, 18)))
@example(pa.array(["z" * 65]))
@example(pa.array(["a", "z" * 10_000]))
@example(pa.array([2**63 - 1, 0], pa.timestamp("us", "UTC")))
@example(pa.array([2**31 - 1, 0], pa.date32()))
def test_bounds_are_those_of_the_values_or_left_out(tmp_path_factory: pytest.TempPathFactory, column: pa.Array) -> None:
    """As a reader sees them: some answer `min` and `max` by nothing else."""
    table = appended(tmp_path_factory.mktemp("table"), column)
    stats = pa.table(table.get_add_actions(flatten=True))
    [size] = stats["num_records"].to_pylist()
    assert size == len(column)
    kind = column.type
    has_nan = pa.types.is_floating(kind) and pc.any(pc.is_nan(column)).as_py()
    true = None if pa.types.is_binary(kind) else pc.min_max(column)
    for name in ("top", "o.p"):
        assert stats[f"null_count.{name}"].to_pylist() == [column.null_count]
        for which in ("min", "max"):
            said = stats[f"{which}.{name}"][0] if f"{which}.{name}" in stats.column_names else None
            if said is not None and said.is_valid:
                assert true is not None
                bound = plain(true[which])
                if pa.types.is_timestamp(kind):  # to the millisecond, outwards
                    bound = bound // 1000 * 1000 if which == "min" else -(-bound // 1000) * 1000
                assert plain(said) == bound
                assert not (which == "max" and has_nan)
    if kind in (pa.int64(), pa.bool_()) and column.null_count < len(column):
        assert stats["min.o.p"][0].is_valid
    if true is not None and not has_nan:
        answer = arrow(table, "SELECT min(top) AS min, max(top) AS max FROM t")
        assert [plain(answer[which][0]) for which in ("min", "max")] == [plain(true[which]) for which in ("min", "max")]


@settings(max_examples=15)
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
        found = arrow(table, f"SELECT event_id FROM t WHERE event['t'] = '{said}'")
        assert found.num_rows == 2 * ([*texts, "x"].count(text))


def test_rows_are_in_the_files_of_their_partitions_in_their_order(tmp_path: Path) -> None:
    destination = DeltaDestination(uri=f"{tmp_path}/{{stream}}", partition_by=("source", "date"))
    dataflow = Dataflow(destination)
    dataflow.take([event(0)])
    dataflow.take([event(number) for number in range(1, 9)])
    files = {path: pq.ParquetFile(path).read() for path in ours(tmp_path / STREAM)}
    numbers = {
        str(path.parent.relative_to(tmp_path / STREAM)): [row["event"]["n"] for row in file.to_pylist()]
        for path, file in files.items()
        if file.num_rows > 1
    }
    assert numbers == {"source=s0/date=2025-02-12": [2, 4, 6, 8], "source=s1/date=2025-02-12": [1, 3, 5, 7]}
    assert not any({"source", "date"} & set(file.column_names) for file in files.values())
    assert len(read_table(tmp_path / STREAM)) == 9


NAMES = ["a b", "a/b", "a%20b", "ü=1:2?#&+", "..", "\U0010ffff", "line\nend", '"quoted"', "C:\\x", " ", "x" * 300]


def test_a_partition_may_have_any_name(tmp_path: Path) -> None:
    destination = DeltaDestination(uri=f"{tmp_path}/{{stream}}", partition_by=("source",))
    dataflow = Dataflow(destination)
    for _ in range(3):
        dataflow.take([{"source": name, "event": {"n": number}} for number, name in enumerate(NAMES)])
    assert len(ours(tmp_path / STREAM)) == 3 * len(NAMES)
    expected = sorted((name, number) for number, name in enumerate(NAMES) for _ in range(3))

    def rows() -> list[tuple[str, int]]:
        return sorted((row["source"], row["event"]["n"]) for row in read_table(tmp_path / STREAM))

    assert rows() == expected
    for name in NAMES:
        text = name.replace("'", "''")
        assert arrow(DeltaTable(str(tmp_path / STREAM)), f"SELECT 1 FROM t WHERE source = '{text}'").num_rows == 3
    live = ours(tmp_path / STREAM)
    assert vacuum(DeltaTable(str(tmp_path / STREAM)), timedelta(0)) == []
    assert live == ours(tmp_path / STREAM)
    compacted = compact(DeltaTable(str(tmp_path / STREAM)), Maintenance(files=2), now=NOW, every=True)
    assert len(compacted) == len(NAMES) - 1  # no file system has a directory of 300 letters
    assert rows() == expected


def test_rows_without_a_value_to_go_by_have_a_partition_of_their_own(tmp_path: Path) -> None:
    rows = pa.table({"source": ["", None, "s"], "n": [1, 2, 3]})
    table = DeltaTable.create(str(tmp_path), rows.schema, partition_by=["source"])
    OpenTable(table, lambda: table, lambda _: LocalStore(tmp_path)).append(rows, {}, grows=False)
    assert {row["n"]: row["source"] for row in read_table(tmp_path)} == {1: None, 2: None, 3: "s"}


def test_a_file_whose_commit_never_came_is_deleted_by_vacuum(tmp_path: Path) -> None:
    dataflow = Dataflow(tmp_path)
    dataflow.take([event(1)])
    table = tmp_path / STREAM
    live = ours(table)
    LocalStore(table).add("date=2025-02-12/part-left.zstd.parquet", pa.py_buffer(b"PAR1 half of"))
    LocalStore(table).add("date=2025-03-01/part-left.zstd.parquet", pa.py_buffer(b"PAR1 half of"))
    assert len(read_table(table)) == 1
    assert len(vacuum(DeltaTable(str(table)), timedelta(0))) == 2
    assert {*table.rglob("*.parquet")} == live


def test_many_rows_are_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta_files, "_FILE_BYTES", 10_000)
    dataflow = Dataflow(tmp_path)
    dataflow.take([event(number, note="x" * 90) for number in range(300)])
    assert 3 <= len(ours(tmp_path / STREAM)) <= 30
    assert sorted(row["event"]["n"] for row in read_table(tmp_path / STREAM)) == list(range(300))


PLAIN = pa.schema(
    [pa.field(name, EVENTS.field(name).type) for name in EVENTS.names if name not in ("event", "metadata")]
    + [pa.field("event", pa.struct([pa.field("a", pa.int64())]))]
)


@pytest.mark.parametrize(
    "ways",
    [
        {"configuration": {"delta.appendOnly": "true"}},
        {"configuration": {"delta.dataSkippingNumIndexedCols": "1"}},
        {"configuration": {"delta.enableChangeDataFeed": "true"}},
        {"configuration": {"delta.enableDeletionVectors": "true"}},
        {"partition_by": ["_late"]},
        {"partition_by": ["received_at"]},
        {"partition_by": ["event_id"]},
        {"schema": PLAIN.set(0, pa.field("event_id", pa.string(), nullable=False))},
        {"schema": PLAIN.set(0, pa.field("event_id", pa.string(), metadata={"about": "x"}))},
        {"schema": PLAIN.set(1, pa.field("timestamp", pa.timestamp("us")))},
    ],
    ids=str,
)
def test_a_table_that_another_program_made_keeps_its_ways(ways: dict[str, Any], tmp_path: Path) -> None:
    DeltaTable.create(str(tmp_path / STREAM), **{"schema": PLAIN, **ways})
    dataflow = Dataflow(tmp_path)
    sent = dataflow.take([{"source": "s", "event": {"a": 1}}]) + dataflow.take([{"source": "s", "event": {"a": 2}}])
    rows = read_table(tmp_path / STREAM)
    assert sorted(row["event_id"] for row in rows) == sorted(sent)
    assert sorted(row["event"]["a"] for row in rows) == [1, 2]
    assert len(ours(tmp_path / STREAM)) == (2 if ways == {"partition_by": ["event_id"]} else 0)


@pytest.mark.parametrize("way", ["constraint", "invariant"])
def test_a_row_that_the_table_forbids_is_not_added(way: str, tmp_path: Path) -> None:
    schema = PLAIN
    if way == "invariant":
        rule = json.dumps({"expression": {"expression": "source <> 'no'"}})
        schema = schema.set(3, pa.field("source", pa.string(), metadata={"delta.invariants": rule}))
    table = DeltaTable.create(str(tmp_path / STREAM), schema)
    if way == "constraint":
        table.alter.add_constraint({"no": "source <> 'no'"})
    dataflow = Dataflow(tmp_path)
    dataflow.stage([{"source": "no", "event": {"a": 1}}])
    with pytest.raises(Transient, match="failed validation check"):
        dataflow.commit()
    assert read_table(tmp_path / STREAM) == []


def test_a_table_in_a_place_of_any_name_has_its_files(tmp_path: Path, s3: SeaweedFS) -> None:
    bucket = s3.make_bucket("delta-files")
    places = [
        DeltaDestination(uri=f"{tmp_path}/a b #?ü{{stream}}/x"),
        lake(s3, bucket, uri=f"s3://{bucket}/a b%20c/ü/{{stream}}"),
    ]
    for place in places:
        dataflow = Dataflow(place)
        sent = dataflow.take([event(1)]) + dataflow.take([event(2)])
        rows = read_table(place.table_uri(STREAM), place.storage_options() or None)
        assert sorted(row["event_id"] for row in rows) == sent


def test_a_value_that_another_programs_table_cannot_name_a_directory_after_is_a_dead_letter_once(
    tmp_path: Path,
) -> None:
    """Delta's own writer names directories by the whole value, and such a table's rows are its to write."""
    place = DeltaDestination(uri=f"{tmp_path}/{{stream}}", partition_by=("source",))
    DeltaTable.create(
        str(tmp_path / STREAM), PLAIN, partition_by=["source"], configuration={"delta.appendOnly": "true"}
    )
    long = [{"source": text, "event": {"a": n}} for n, text in enumerate(["x" * 249, "é" * 42, "🙂" * 200])]
    short = [{"source": text, "event": {"a": n}} for n, text in enumerate(["x" * 248, "é" * 41, "s"])]

    def dataflow() -> Dataflow:
        return Dataflow(place, rejects=dead_letters_below(tmp_path))

    first = dataflow()
    sent = first.take([*short, *long], offset=0)
    sent += first.take(short[:1], offset=1)
    restarted = dataflow()
    restarted.stage([*short, *long], offset=0)
    sent += restarted.take([*short, *long[:1]], offset=2)
    letters = read_table(tmp_path / "dlq" / "dead_letters")
    rows = read_table(tmp_path / STREAM)
    assert sorted(row["event_id"] for row in [*rows, *letters]) == sorted(sent)
    assert Counter(row["source"] for row in rows) == Counter(e["source"] for e in [*short, *short[:1], *short])
    assert {json.loads(letter["payload"])["source"] for letter in letters} == {event["source"] for event in long}
    assert {(letter["stage"], letter["error"].split(":")[0]) for letter in letters} == {
        ("schema", "its source is too long for the name of a directory")
    }
