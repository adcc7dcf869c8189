"""The files of lookups: what their texts become, and what is refused."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.telemetry import LOOKUP_ROWS_IGNORED
from flows.lookups.csv import typed
from flows.lookups.keyed import KeyedTable
from flows.lookups.reading import read_keyed
from flows.lookups.settings import Lookup
from flows.lookups.table import Leaf, LookupFailed
from flows.lookups.watched import Watched
from tests.lookups.files import NETWORKS, write_mmdb

TEXTS = st.lists(
    st.none() | st.from_regex(r"-?[0-9]{0,20}(\.[0-9]{0,4})?", fullmatch=True) | st.sampled_from(["true", "x"])
)


def columns(content: str | bytes, *, end: str = "csv", key: str = "id") -> dict[str, str]:
    content = content.encode() if isinstance(content, str) else content
    table = read_keyed(Lookup(file=Path(f"t.{end}"), key=key), content).table
    return {".".join(leaf.path): leaf.type for leaf in table.leaves}


def refusal(content: str | bytes, *, end: str = "csv", key: str = "id") -> str:
    with pytest.raises(LookupFailed) as raised:
        columns(content, end=end, key=key)
    return str(raised.value)


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["1", "-5", "999999999999999999"], "int64"),
        (["1.5", "2", "-0.25"], "double"),
        (["true", "false"], "bool"),
        (["007", "1"], "string"),
        (["1.10", "2.5"], "string"),
        (["1e3"], "string"),
        (["-0"], "string"),
        (["0.1234567890123456"], "string"),
        (["9999999999999999999"], "string"),
        (["True", "False"], "string"),
        (["1", "true"], "string"),
        (["NaN", "1"], "string"),
        ([" 1"], "string"),
        ([None], "string"),
    ],
)
def test_a_text_is_a_number_only_where_it_can_be_had_back(texts: list[str | None], kind: str) -> None:
    assert str(typed(pa.chunked_array([pa.array(texts, pa.string())])).type) == kind


@given(TEXTS)
def test_no_text_loses_its_value(texts: list[str | None]) -> None:
    values = typed(pa.chunked_array([pa.array(texts, pa.string())])).to_pylist()
    for text, value in zip(texts, values, strict=True):
        if text is None or isinstance(value, str):
            assert value == text
        elif isinstance(value, bool):
            assert str(value).lower() == text
        else:
            assert Decimal(text) == Decimal(repr(value))
            assert text == f"{Decimal(repr(value)).normalize():f}"


def test_a_header_tells_its_delimiter() -> None:
    for mark in ",;\t|":
        assert columns(f"id{mark}v\n1{mark}2\n") == {"id": "VARCHAR", "v": "BIGINT"}
    assert columns("id;price, net\n1;2\n") == {"id": "VARCHAR", "price, net": "BIGINT"}


def test_quotes_empty_cells_and_line_ends_are_read_as_programs_write_them() -> None:
    content = '\ufeffid,"a ""b""",c\r\n1,"x, y\nz",\r\n\r\n2,"",3\r\n'
    assert columns(content) == {"id": "VARCHAR", 'a "b"': "VARCHAR", "c": "BIGINT"}
    table = read_keyed(Lookup(file=Path("t.csv"), key="id"), content.encode()).table
    assert values(table, 'a "b"', ["1", "2"]) == ["x, y\nz", ""]
    assert values(table, "c", ["1", "2"]) == [None, 3]


def test_an_index_without_a_name_is_left_out() -> None:
    assert columns(",id,v\n0,a,1\n1,b,2\n") == {"id": "VARCHAR", "v": "BIGINT"}


def test_the_last_of_rows_with_the_same_key_counts_and_a_row_without_one_does_not(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("id,v\na,1\nb,2\na,3\n,4\n,5\na,6\n")
    watched = Watched("counted", Lookup(file=file, key="id"))
    assert isinstance(watched.current.table, KeyedTable)
    assert values(watched.current.table, "v", ["a", "b", None]) == [6, 2, None]
    ignored = [LOOKUP_ROWS_IGNORED.labels("counted", why)._value.get() for why in ("no_key", "repeated_key")]
    assert ignored == [2, 2]


def test_types_of_a_parquet_file_are_those_that_events_have() -> None:
    sink = pa.BufferOutputStream()
    day = pa.array([19_000], pa.date32())
    arrays = {
        "id": pa.array([1.0]),
        "big": pa.array([2**64 - 1], pa.uint64()),
        "small": pa.array([7], pa.uint64()),
        "money": pa.array(["1.10"]).cast(pa.decimal128(18, 2)),
        "day": day,
        "at": pa.array([0], pa.timestamp("ms")),
        "tags": pa.array([["a"]]),
        "in": pa.array([{"a": 1}]),
        "word": pa.array(["x"]).dictionary_encode(),
    }
    pq.write_table(pa.table(arrays), sink)
    assert columns(sink.getvalue().to_pybytes(), end="parquet") == {
        "id": "DOUBLE",
        "big": "VARCHAR",
        "small": "BIGINT",
        "money": "DECIMAL(18,2)",
        "day": "DATE",
        "at": "TIMESTAMP WITH TIME ZONE",
        "tags": "VARCHAR[]",
        "in.a": "BIGINT",
        "word": "VARCHAR",
    }


@pytest.mark.parametrize(
    ("end", "content", "said"),
    [
        ("csv", "id,v\na,1\nb\n", "row 3 has 1 columns, the header 2"),
        ("csv", "id,v\na,1,secret\n", "row 2 has 3 columns, the header 2"),
        ("csv", "id,v,V\na,1,2\n", "the column 'V' twice"),
        ("csv", "name,v\na,1\n", "no column 'id'; its columns: name, v"),
        ("csv", "", "no header"),
        ("csv", 'id,v\na,"1\n', "a quote is opened"),
        ("csv", b"id,v\na,\xe9\n", "line 2 has a byte that is not UTF-8"),
        ("json", '{"id": 1}', "no JSON array"),
        ("json", '[{"id": 1},', "truncated"),
        ("json", "[1, 2]", "no JSON object"),
        ("json", '[{"id": 1}, 2]', "no JSON object"),
        ("json", '[{"id": 1, "ID": 2}]', "differ only in case"),
        ("json", "[]", "no column 'id'"),
        ("ndjson", '{"id": 1}\n{"id": ', "line 2"),
        ("ndjson", '{"id": 1}\n\n{"id": 2} {"id": 3}', "line 3"),
        ("ndjson", '{"v": 1}', "no column 'id'; its columns: v"),
        ("parquet", b"PAR1....", "cannot be read as parquet"),
        ("parquet", b"", "cannot be read as parquet"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_and_no_row_of_it_shown(end: str, content: Any, said: str) -> None:
    found = refusal(content, end=end)
    assert said in found
    assert "secret" not in found


def test_a_half_of_a_parquet_or_mmdb_file_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": list(range(1000))}), tmp_path / "t.parquet")
    whole = {"parquet": (tmp_path / "t.parquet").read_bytes()}
    whole["mmdb"] = write_mmdb(tmp_path / "t.mmdb", NETWORKS).read_bytes()
    for end, content in whole.items():
        half = tmp_path / f"half.{end}"
        half.write_bytes(content[: len(content) // 2])
        with pytest.raises(LookupFailed, match=r"'half'.*half.*cannot be taken"):
            Watched("half", Lookup(file=half, key=None if end == "mmdb" else "id"))


def test_keys_that_share_a_hash_are_told_apart() -> None:
    hashes = pa.array([7, 7, 7, 9], pa.uint64())
    keys = pa.array(["a", "b", "c", "d"])
    table = KeyedTable(keys, hashes, [Leaf(("v",), "BIGINT")], [pa.array([1, 2, 3, 4])])
    asked, of = (
        pa.chunked_array([["c", "a", "x", "d", "b"]]),
        pa.chunked_array([pa.array([7, 7, 7, 9, 7], pa.uint64())]),
    )
    assert [row["c0"] for row in table.find(of, asked, table.leaves).to_pylist()] == [3, 1, None, 4, 2]


def values(table: KeyedTable, field: str, keys: list[str | None]) -> list[Any]:
    with duckdb.connect() as engine:
        engine.register("k", pa.table({"k": pa.array(keys, pa.string())}))
        hashed = engine.sql("SELECT k, hash(k) AS h FROM k").to_arrow_table()
    found = table.find(hashed["h"], hashed["k"], table.chosen(field))
    return [row["c0"] for row in found.to_pylist()]


def test_a_line_break_within_quotes_is_no_end_of_a_row_wherever_it_stands() -> None:
    content = "id,v\n" + "".join(f'{n},"x\n{n}"\n' for n in range(150_000))  # more than is parsed at once
    table = read_keyed(Lookup(file=Path("t.csv"), key="id"), content.encode()).table
    assert len(table) == 150_000
    assert values(table, "v", ["0", "149999"]) == ["x\n0", "x\n149999"]
