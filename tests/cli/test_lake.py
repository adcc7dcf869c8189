"""The Python API of a notebook, and the generator behind the demo."""

from __future__ import annotations

from itertools import pairwise

import pytest

import headrace
from connectors.errors import HeadraceError
from headrace.generate import KINDS, generate
from tests.cli.conftest import Place, Up


def test_what_landed_is_read_as_arrow_and_with_sql(served: tuple[Place, Up]) -> None:
    place, up = served
    for number in range(3):
        body = b'{"source": "lake", "event": {"n": %d, "nested": {"text": "x"}}, "other": 1}' % number
        assert place.post(up.url, body).status == 200
    place.wait_for_rows(3)
    table = headrace.table("events", config=place.config, columns=["event", "source"], where="event['n'] > 0")
    assert table.column_names == ["event", "source"]
    assert sorted(row["n"] for row in table.column("event").to_pylist()) == [1, 2]
    assert str(table.schema.field("source").type) == "string"
    lake = headrace.connect(place.config)
    assert lake.sql("SELECT sum(event.n), count(_rescued), typeof(any_value(date)) FROM events").fetchall() == [
        (3, 3, "DATE")
    ]


def test_a_stream_without_rows_and_one_that_is_unknown_are_told_apart(place: Place) -> None:
    with pytest.raises(HeadraceError, match="has landed yet"):
        headrace.table("events", config=place.config)
    with pytest.raises(HeadraceError, match="its streams: events"):
        headrace.table("evnts", config=place.config)
    assert headrace.connect(place.config).sql("SHOW TABLES").fetchall() == []


@pytest.mark.parametrize("kind", [*KINDS, "mixed"])
def test_equal_seeds_give_equal_events_and_others_do_not(kind: str) -> None:
    events = list(generate(kind, 50, seed=3))
    assert events == list(generate(kind, 50, seed=3))
    assert events != list(generate(kind, 50, seed=4))
    assert len(events) == 50


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_of_a_kind_is_in_order_of_time(kind: str) -> None:
    assert all(a["timestamp"] < b["timestamp"] for a, b in pairwise(generate(kind, 300, seed=1)))
