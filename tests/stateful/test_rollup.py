"""`rollups`: what SQL's GROUP BY says of the events on time, each window's rows once, and late events never silently gone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.telemetry import EVENTS_LATE
from flows.columns import Columns
from flows.rollups import Rollup
from flows.stateful.operator import Operator
from flows.stateful.rollup import open_rollup
from tests.stateful.flats import SECOND, START, engine, flat, keep, reopened, rows

EVERY, LATENESS, IDLE = 10, 4, 30
KX: Columns = {("event", "k"): "VARCHAR", ("event", "x"): "BIGINT"}
NUMBERS: Columns = {("event", "k"): "VARCHAR", ("event", "x"): "DOUBLE"}

GROUPED = {
    "n": "count(*)",
    "some": "count(x)",
    "total": "sum(x)",
    "low": "min(x)",
    "high": "max(x)",
    "mean": "avg(x)",
    "large": "sum(x) FILTER (WHERE x > 2)",
    "share": "sum(x) / count(*)",
}
WHOLE = {**GROUPED, "kinds": "count(DISTINCT x)", "p90": "quantile_cont(x, 0.9)", "spread": "stddev(x)"}


def opened(**changes: Any) -> Operator:
    usual: dict[str, Any] = {
        "name": "m",
        "every": timedelta(seconds=EVERY),
        "by": ("source", "event.k"),
        "aggregate": {"n": "count(*)"},
        "lateness": timedelta(seconds=LATENESS),
        "idle": timedelta(seconds=IDLE),
    }
    return open_rollup(Rollup(**{**usual, **changes}), "web", engine())


def event(t: float, k: str | None = "a", x: Any = 1, **more: Any) -> dict[str, Any]:
    return {"t": t, "event.k": k, "event.x": x, **more}


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(START / SECOND + seconds, UTC)


arrivals = st.lists(
    st.fixed_dictionaries(
        {
            "t": st.integers(0, 120).map(lambda n: n / 2),
            "delay": st.integers(0, 30).map(lambda n: n / 2),
            "k": st.sampled_from(["a", "b", None]),
            "x": st.one_of(st.none(), st.integers(-3, 5), st.sampled_from([0.5, 2.25])),
        }
    ),
    min_size=1,
    max_size=60,
)


@pytest.mark.parametrize("aggregates", [GROUPED, WHOLE], ids=["in two steps", "of the events themselves"])
@settings(max_examples=40)
@given(made=arrivals, sizes=st.lists(st.integers(1, 20), min_size=1), data=st.data())
def test_it_is_what_sql_says_of_the_events_on_time(
    aggregates: dict[str, str], made: list[dict[str, Any]], sizes: list[int], data: st.DataObject
) -> None:
    """Shuffled, late and duplicated events, cut into batches anyhow, a crash after any of them: in a row or late."""
    made = sorted(made, key=lambda one: one["t"] + one["delay"])
    came = [event(one["t"], one["k"], one["x"], id=f"e{n}", r=100 + n / 100) for n, one in enumerate(made)]
    settings = {
        name: text.replace("(x", "(event.x")
        .replace("DISTINCT x", "DISTINCT event.x")
        .replace("WHERE x", "WHERE event.x")
        for name, text in aggregates.items()
    }
    operator = opened(aggregate=settings)
    held: dict[str, pa.Table] = {}
    found: list[dict[str, Any]] = []
    late: list[str] = []
    place = turn = 0
    while place < len(came):
        batch = came[place : place + sizes[turn % len(sizes)]]
        whole = all(one["event.x"] is None or one["event.x"] == int(one["event.x"]) for one in batch)
        found += rows(operator.take(flat(batch, KX if whole else NUMBERS)))
        late += [row["event_id"] for group, _ in operator.letters() for row in rows([group])]
        place, turn = place + len(batch), turn + 1
        if data.draw(st.booleans(), label="crash"):
            operator = reopened(held, operator, opened(aggregate=settings))
        elif data.draw(st.booleans(), label="keep"):
            keep(held, operator)
    found += rows(operator.finish())
    assert late == expected_late(came)
    expect(found, [one for one in came if one["id"] not in late], aggregates)


def expected_late(came: Sequence[dict[str, Any]]) -> list[str]:
    newest, late = -1e9, []
    for one in came:
        if (one["t"] // EVERY + 1) * EVERY <= newest - LATENESS:
            late.append(one["id"])
        newest = max(newest, one["t"])
    return late


def expect(found: list[dict[str, Any]], good: list[dict[str, Any]], aggregates: dict[str, str]) -> None:
    with duckdb.connect() as reference:
        reference.execute("CREATE TABLE e (t DOUBLE, k VARCHAR, x DOUBLE)")
        if good:
            reference.executemany(
                "INSERT INTO e VALUES (?, ?, ?)", [(o["t"], o["event.k"], o["event.x"]) for o in good]
            )
        items = ", ".join(f"{text} AS {name}" for name, text in aggregates.items())
        cursor = reference.execute(f"SELECT floor(t / {EVERY}) * {EVERY} AS start, k, {items} FROM e GROUP BY start, k")
        names = [item[0] for item in cursor.description]
        said = [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]
    by_group = {(row["window_start"], row.get("k")): row for row in found}
    assert len(found) == len(by_group) == len(said) == len({row["event_id"] for row in found})
    for values in said:
        row = by_group[at(values["start"]), values["k"]]
        assert row["window_end"] == at(values["start"] + EVERY)
        assert row["date"] == row["window_start"].date()
        for name in aggregates:
            assert row.get(name) == pytest.approx(values[name]), name


def test_a_window_closes_when_the_watermark_reaches_its_end() -> None:
    operator = opened()
    assert operator.take(flat([event(0), event(EVERY + LATENESS - 0.000001)], KX)) == []
    [row] = rows(operator.take(flat([event(EVERY + LATENESS)], KX)))
    assert (row["window_start"], row["window_end"], row["n"]) == (at(0), at(EVERY), 1)
    assert row["event_id"].startswith("web_m/2024-05-01T00:00:00Z/")


def test_an_event_of_a_closed_window_is_a_dead_letter_and_counted() -> None:
    operator = opened()
    before = EVENTS_LATE.labels("web", "rollups.m")._value.get()
    operator.take(flat([event(0), event(EVERY + LATENESS), event(1, id="late", x=7), event(EVERY, id="on time")], KX))
    [(letters, reason)] = operator.letters()
    assert [(row["event_id"], row["event.x"]) for row in rows([letters])] == [("late", 7)]
    assert reason == "too late for the rollup m: its window was closed"
    assert operator.letters() == []
    assert EVENTS_LATE.labels("web", "rollups.m")._value.get() == before + 1
    assert sum(row["n"] for row in rows(operator.finish())) == 2


def test_a_row_has_the_same_id_whatever_the_types_and_batches() -> None:
    one, other = opened(by=("event.k",)), opened(by=("event.k",))
    one.take(flat([event(0, 5), event(1, 5)], {**KX, ("event", "k"): "BIGINT"}))
    other.take(flat([event(1, "5")], KX))
    other.take(flat([event(0, 5.0)], {**KX, ("event", "k"): "DOUBLE"}))
    [first], [second] = rows(one.finish()), rows(other.finish())
    assert first["event_id"] == second["event_id"]
    assert first["n"] == second["n"] == 2
    assert (first["k"], second["k"]) == (5, "5")


def test_groups_without_a_value_are_groups_too() -> None:
    operator = opened()
    operator.take(flat([{"t": 0, "event.x": 1}], {("event", "x"): "BIGINT"}))
    operator.take(flat([event(1, None), event(1, "null"), event(1, "")], KX))
    found = rows(operator.finish())
    assert sorted((row.get("k"), row["n"]) for row in found if "k" in row) == [("", 1), ("null", 1)]
    assert [row["n"] for row in found if "k" not in row] == [2]
    assert len({row["event_id"] for row in found}) == 3


def test_silence_closes_a_window_that_is_over_by_the_clock_and_no_other() -> None:
    operator = opened(every=timedelta(seconds=60))
    operator.take(flat([event(5, r=5), event(6, r=6)], KX))
    assert operator.tick(START + (7 + IDLE) * SECOND) == []
    assert operator.tick(START + (60 + LATENESS) * SECOND - 1) == []
    [row] = rows(operator.tick(START + (60 + LATENESS) * SECOND))
    assert row["n"] == 2


def test_a_slow_stream_loses_nothing_to_silence() -> None:
    operator = opened(every=timedelta(seconds=600))
    for t in range(0, 600, 40):
        assert operator.take(flat([event(t, r=t)], KX)) == []
    assert operator.letters() == []
    assert [row["n"] for row in rows(operator.finish())] == [15]


def test_rates_estimate_how_many_events_there_were() -> None:
    operator = opened(aggregate={"events": "sum(1/_sample_rate)"}, by=())
    operator.take(flat([event(0, _sample_rate=0.1), event(1, _sample_rate=0.5)], KX))
    assert [row["events"] for row in rows(operator.finish())] == [12.0]


def test_first_and_last_are_by_the_time_of_the_event_then_by_receipt() -> None:
    operator = opened(aggregate={"first": "first(event.x)", "last": "last(event.x)"}, by=())
    operator.take(flat([event(3, x=1), event(1, x=2)], KX))
    operator.take(flat([event(1, x=3), event(3, x=4), event(2, x=5)], KX))
    assert [(row["first"], row["last"]) for row in rows(operator.finish())] == [(2, 4)]


def test_columns_are_named_and_typed() -> None:
    operator = opened(by={"k": "event.k", "big": "event.x > 2"}, aggregate={"n": "count(*)", "t": "max(timestamp)"})
    operator.take(flat([event(0, x=5)], KX))
    [found] = operator.finish()
    assert {path[0]: kind for path, kind in found.columns.items()} == {
        "event_id": "VARCHAR",
        "window_start": "TIMESTAMP WITH TIME ZONE",
        "window_end": "TIMESTAMP WITH TIME ZONE",
        "k": "VARCHAR",
        "big": "BOOLEAN",
        "n": "BIGINT",
        "t": "TIMESTAMP WITH TIME ZONE",
        "date": "DATE",
    }
    [row] = rows([found])
    assert (row["k"], row["big"], row["t"]) == ("a", True, at(0))


@pytest.mark.parametrize("text", ["count(*)", "median(event.x)"])
def test_what_is_kept_stays_near_the_open_windows_however_long_it_runs(text: str) -> None:
    """Closed windows are dropped, groups are put together, small pieces become few."""
    operator = opened(aggregate={"n": text})
    held: dict[str, pa.Table] = {}
    most = written = 0
    for second in range(150):
        operator.take(flat([event(second + n / 50, f"k{n % 5}") for n in range(50)], KX))
        written += keep(held, operator)
        most = max(most, len(held))
        kept = sum(table.num_rows for table in held.values())
        assert kept <= (5 if text == "count(*)" else 50) * (2 * EVERY + LATENESS + 4) + 10
    assert most < 40
    assert written < 150 * 50 * 6


def test_many_groups_of_many_batches_are_put_together_while_they_wait() -> None:
    changes = {"every": timedelta(days=1), "aggregate": {"n": "count(*)", "total": "sum(event.x)"}}
    operator = opened(**changes)
    held: dict[str, pa.Table] = {}
    for batch in range(30):
        operator.take(flat([event(batch, f"k{n}") for n in range(500)], KX))
        keep(held, operator)
        if batch % 10 == 9:
            operator = reopened(
                held, operator, opened(every=timedelta(days=1), aggregate={"n": "count(*)", "total": "sum(event.x)"})
            )
    assert sum(table.num_rows for table in held.values()) < 30 * 500 / 2
    found = rows(operator.finish())
    assert [(row["n"], row["total"]) for row in found] == [(30, 30)] * 500
