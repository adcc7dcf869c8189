"""Ids of a rollup's rows are what they have always been: tables are full of them."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.stateful.identities import Identities

YEAR_0, YEAR_9999 = -62167219200000000, 253402300799000000


@settings(max_examples=30)
@pytest.mark.parametrize(("seconds", "form"), [(True, "%Y-%m-%dT%H:%M:%SZ"), (False, "%Y-%m-%dT%H:%M:%S.%fZ")])
@given(rows=st.lists(st.tuples(st.integers(YEAR_0, YEAR_9999), st.text(max_size=300)), max_size=20))
def test_an_id_is_the_table_the_window_and_a_hash_of_the_values(
    seconds: bool, form: str, rows: list[tuple[int, str]]
) -> None:
    starts = pa.chunked_array([pa.array([start for start, _ in rows], pa.int64())])
    values = pa.chunked_array([pa.array([value for _, value in rows], pa.string())])
    identities = Identities("pay_r", seconds=seconds)
    found = identities.of(starts, values).to_pylist()
    assert identities.of(starts, values).to_pylist() == found
    with duckdb.connect() as engine:
        query = f"SELECT 'pay_r/' || strftime(make_timestamp(?::BIGINT), '{form}') || '/' || left(sha256(?), 16)"
        expected = [engine.execute(query, [start, value]).fetchall()[0][0] for start, value in rows]
    assert found == expected
