"""`window`: what DuckDB says of all events at once, whatever their order, their batches, their types, and crashes between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.telemetry import EVENTS_LATE
from flows.columns import Columns
from flows.stateful.operator import Operator
from flows.stateful.window import open_window
from flows.steps import Window
from tests.stateful.flats import SECOND, START, engine, flat, keep, reopened, rows

LENGTH, LATENESS, IDLE = 7, 4, 30
KX: Columns = {("event", "k"): "VARCHAR", ("event", "x"): "BIGINT"}
NUMBERS: Columns = {("event", "k"): "VARCHAR", ("event", "x"): "DOUBLE"}

EXACT = {
    "n": "count(*)",
    "some": "count(x)",
    "kinds": "count(DISTINCT x)",
    "total": "sum(x)",
    "low": "min(x)",
    "high": "max(x)",
    "many": "count(*) FILTER (WHERE x > 2)",
    "large": "sum(x) FILTER (WHERE x > 2)",
    "middle": "median(x)",
    "upper": "quantile_cont(x, 0.9)",
    "disc": "quantile_disc(x, 0.25)",
}
NEAR = {"mean": "avg(x)", "spread": "stddev(x)", "pop": "stddev_pop(x)", "share": "sum(x) / count(*)"}


def step(**changes: Any) -> Window:
    usual: dict[str, Any] = {
        "name": "v",
        "key": "event.k",
        "length": timedelta(seconds=LENGTH),
        "lateness": timedelta(seconds=LATENESS),
        "idle": timedelta(seconds=IDLE),
        "aggregate": {"n": "count(*)", "total": "sum(event.x)"},
    }
    return Window(**{**usual, **changes})


def opened(**changes: Any) -> Operator:
    return open_window(step(**changes), engine())


def event(t: float, k: str | None = "a", x: Any = 1, **more: Any) -> dict[str, Any]:
    return {"t": t, "event.k": k, "event.x": x, **more}


def _microsecond(row: Mapping[str, Any]) -> int:
    since = row["timestamp"] - datetime.fromtimestamp(START // SECOND, UTC)
    return since // timedelta(microseconds=1)


def windows(found: Sequence[Mapping[str, Any]], name: str = "n") -> list[Any]:
    return [row.get(f"event.v.{name}") for row in found]


arrivals = st.lists(
    st.fixed_dictionaries(
        {
            "t": st.integers(0, 60).map(lambda n: n / 2),
            "delay": st.integers(0, 12).map(lambda n: n / 2),
            "k": st.sampled_from(["a", "a", "b", None]),
            "x": st.one_of(st.none(), st.integers(-3, 5), st.sampled_from([0.5, 2.25])),
        }
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=60)
@given(arrivals, st.lists(st.integers(1, 20), min_size=1), st.data())
def test_it_is_what_sql_says_of_the_events_on_time(
    made: list[dict[str, Any]], sizes: list[int], data: st.DataObject
) -> None:
    """Shuffled, late and duplicated events, cut into batches anyhow, a crash after any of them; both ways of computing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.stateful.frames._FEW", data.draw(st.sampled_from([0, 100_000]), label="few"))
        it_is_what_sql_says(made, sizes, data)


def it_is_what_sql_says(made: list[dict[str, Any]], sizes: list[int], data: st.DataObject) -> None:
    made = sorted(made, key=lambda one: one["t"] + one["delay"])
    came = [event(one["t"], one["k"], one["x"], id=f"e{n}", r=100 + n / 100) for n, one in enumerate(made)]
    aggregates = {
        name: text.replace("(x", "(event.x").replace("DISTINCT x", "DISTINCT event.x")
        for name, text in {**EXACT, **NEAR}.items()
    }
    aggregates = {name: text.replace("WHERE x", "WHERE event.x") for name, text in aggregates.items()}
    aggregates |= {"first": "first(event.x)", "last": "last(event.x)"}
    operator = opened(aggregate=aggregates)
    held: dict[str, pa.Table] = {}
    found = []
    place, turn = 0, 0
    while place < len(came):
        batch = came[place : place + sizes[turn % len(sizes)]]
        whole = all(one["event.x"] is None or one["event.x"] == int(one["event.x"]) for one in batch)
        found += rows(operator.take(flat(batch, KX if whole else NUMBERS)))
        place, turn = place + len(batch), turn + 1
        if data.draw(st.booleans(), label="crash"):
            operator = reopened(held, operator, opened(aggregate=aggregates))
        elif data.draw(st.booleans(), label="keep"):
            keep(held, operator)
    found += rows(operator.finish())
    expect(found, came)


def expect(found: list[dict[str, Any]], came: list[dict[str, Any]]) -> None:
    """That these rows are what SQL gives of the events that were on time."""
    newest, late, good = -1e9, set(), []
    for number, one in enumerate(came):
        if one["t"] < newest - LATENESS:
            late.add(one["id"])
        else:
            good.append((one["id"], round(one["t"] * 2), one["event.k"], one["event.x"], number))
        newest = max(newest, one["t"])
    by_id = {row["event_id"]: row for row in found}
    assert len(found) == len(came) == len(by_id)
    assert {row["event_id"] for row in found if row.get("_late")} == late
    assert not any(name.startswith("event.v.") for row in found if row.get("_late") for name in row)
    with duckdb.connect() as reference:
        reference.execute("CREATE TABLE e (id VARCHAR, t BIGINT, k VARCHAR, x DOUBLE, n BIGINT)")
        reference.executemany("INSERT INTO e VALUES (?, ?, ?, ?, ?)", good)
        items = ", ".join(
            f"{text.removesuffix(' / count(*)')} OVER w"
            + (" / count(*) OVER w" if text.endswith("/ count(*)") else "")
            + f" AS {name}"
            for name, text in {**EXACT, **NEAR}.items()
        )
        over = f"PARTITION BY k ORDER BY t RANGE BETWEEN {2 * LENGTH} PRECEDING AND CURRENT ROW"
        cursor = reference.execute(f"SELECT id, {items} FROM e WINDOW w AS ({over})")
        names = [item[0] for item in cursor.description]
        for values in cursor.fetchall():
            said = dict(zip(names, values, strict=True))
            row = by_id[said.pop("id")]
            for name, value in said.items():
                assert row.get(f"event.v.{name}") == (value if name in EXACT else pytest.approx(value)), name
    for name, t, k, _, _ in good:
        seen = sorted((s, n, x) for _, s, key, x, n in good if key == k and t - 2 * LENGTH <= s <= t)
        assert by_id[name].get("event.v.first") == seen[0][2]
        assert by_id[name].get("event.v.last") == seen[-1][2]
    on_time = [row["timestamp"] for row in found if not row.get("_late")]
    assert on_time == sorted(on_time)


def test_both_ends_of_the_window_belong_to_it() -> None:
    operator = opened()
    found = rows([*operator.take(flat([event(0), event(LENGTH), event(LENGTH + 0.000001)], KX)), *operator.finish()])
    assert windows(found) == [1, 2, 2]


def test_events_of_one_instant_see_each_other() -> None:
    operator = opened()
    found = rows([*operator.take(flat([event(1), event(1), event(1, "b")], KX)), *operator.finish()])
    assert windows(found) == [2, 2, 1]


def test_an_event_waits_until_the_watermark_has_passed_it() -> None:
    operator = opened()
    assert operator.take(flat([event(0)], KX)) == []
    assert operator.take(flat([event(LATENESS)], KX)) == []
    [row] = rows(operator.take(flat([event(LATENESS + 0.000001)], KX)))
    assert row["event.v.n"] == 1


def test_a_late_event_goes_on_at_once_marked_and_counted_and_in_nobodys_window() -> None:
    operator = opened()
    before = EVENTS_LATE.labels("web", "window.v")._value.get()
    found = rows(operator.take(flat([event(10, id="on"), event(10 - LATENESS - 1, id="late", x=99)], KX)))
    assert [(row["event_id"], row["_late"], row["event.x"]) for row in found] == [("late", True, 99)]
    assert windows(found) == [None]
    assert EVENTS_LATE.labels("web", "window.v")._value.get() == before + 1
    [row] = rows(operator.finish())
    assert (row["event.v.n"], row["event.v.total"]) == (1, 1)
    assert "_late" not in row


def test_a_silent_stream_lets_go_of_what_it_holds() -> None:
    operator = opened()
    operator.take(flat([event(0, r=100)], KX))
    assert operator.tick(START + (100 + IDLE) * SECOND) == []
    assert windows(rows(operator.tick(START + (100 + IDLE) * SECOND + 1))) == [1]
    assert rows(operator.take(flat([event(0, r=200)], KX)))[0]["_late"]


def test_a_silence_between_two_events_is_the_same_seen_later() -> None:
    operator = opened()
    found = rows(operator.take(flat([event(5, r=100), event(4, r=100 + IDLE + 1), event(6, r=101 + IDLE)], KX)))
    assert [(row.get("_late"), row.get("event.v.n")) for row in found] == [(True, None), (None, 1)]


def test_a_key_is_the_same_as_a_number_and_as_a_text() -> None:
    operator = opened()
    operator.take(flat([event(0, 5), event(1, None)], {**KX, ("event", "k"): "BIGINT"}))
    operator.take(flat([event(2, "5"), event(3, None)], KX))
    operator.take(flat([event(3, '"5"'), event(3, "[5]")], {**KX, ("event", "k"): "JSON"}))
    operator.take(flat([event(3)], {("event", "x"): "BIGINT"}))
    assert sorted(windows(rows(operator.finish()))) == [1, 1, 1, 2, 3, 3, 3]


def test_values_of_changing_types_are_put_together() -> None:
    """Numbers exactly, what is no number is NULL to what computes, and mixed kinds are text to what compares."""
    aggregate = {
        "total": "sum(event.x)",
        "high": "max(event.x)",
        "last": "last(event.x)",
        "kinds": "count(DISTINCT event.x)",
    }
    operator = opened(aggregate=aggregate)
    operator.take(flat([{"t": 0, "event.k": "a"}], {("event", "k"): "VARCHAR"}))
    operator.take(flat([event(1, x=2)], KX))
    operator.take(flat([event(2, x=0.5)], NUMBERS))
    found = rows(operator.take(flat([event(6.5, "b")], KX)))
    assert [(r.get("event.v.total"), r.get("event.v.high"), r.get("event.v.last")) for r in found] == [
        (None, None, None),
        (2.0, 2.0, 2.0),
        (2.5, 2.0, 0.5),
    ]
    operator.take(flat([event(6.5, x='"ten"'), event(6.5, x="10")], {**KX, ("event", "x"): "JSON"}))
    row = next(row for row in rows(operator.finish()) if row["event.k"] == "a")
    assert row["event.v.total"] == 12.5
    assert row["event.v.high"] == "ten"
    assert row["event.v.last"] == "10"
    assert row["event.v.kinds"] == 4


def test_a_field_that_comes_while_events_wait_is_nobodys_loss() -> None:
    """A new leaf, and one whose type changes: every event keeps its own, in the order of time."""
    operator = opened()
    wide = {**NUMBERS, ("event", "new"): "VARCHAR"}
    operator.take(flat([event(1, x=2**60 + 1), event(3, x=2)], KX))
    operator.take(flat([event(0, x=0.5, **{"event.new": "n"}), event(2, x=1.5)], wide))
    operator.take(flat([event(4, x=7, **{"event.new": "m"})], {**KX, ("event", "new"): "VARCHAR"}))
    found = operator.finish()
    seen = [(row["event.x"], row.get("event.new"), row["event.v.n"]) for row in rows(found)]
    assert seen == [(0.5, "n", 1), (2**60 + 1, None, 2), (1.5, None, 3), (2, None, 4), (7, "m", 5)]


def test_a_type_that_widens_while_events_wait_cuts_nothing_into_pieces() -> None:
    """Events of one release that differ only in a type that holds both go on together."""
    operator = opened()
    columns: Columns = {**KX, ("event", "y"): "VARCHAR", ("event", "z"): "BIGINT"}
    operator.take(flat([event(n / 2, x=n, **{"event.y": f"t{n}", "event.z": n}) for n in (0, 2, 4)], columns))
    wide: Columns = {**NUMBERS, ("event", "y"): "JSON", ("event", "z"): "BIGINT"}
    operator.take(flat([event(n / 2, x=n + 0.5, **{"event.y": "[1]", "event.z": n}) for n in (1, 3, 5)], wide))
    [given] = operator.finish()
    assert given.columns["event", "x"] == "DOUBLE"
    assert [(row["event.x"], row["event.y"], row["event.z"]) for row in rows([given])] == [
        (0.0, '"t0"', 0),
        (1.5, "[1]", 1),
        (2.0, '"t2"', 2),
        (3.5, "[1]", 3),
        (4.0, '"t4"', 4),
        (5.5, "[1]", 5),
    ]


def test_a_backlog_is_computed_in_larger_parts_and_comes_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full batches, a key that has a third of the events and many that have few; what is ready goes on once it slackens."""
    count, size, length = 32_000, 1_000, 20
    monkeypatch.setattr("flows.stateful.window._FULL", size)
    random = np.random.default_rng(7)
    keys = np.where(random.random(count) < 0.3, "hot", random.integers(0, 9_000, count).astype("U5"))
    times = (np.arange(count) - random.integers(0, 3_000, count)) / 1_000
    values = random.integers(0, 100, count)
    came = [event(t, str(k), int(x)) for t, k, x in zip(times, keys, values, strict=True)]
    operator = opened(length=timedelta(seconds=length))
    given, fed = [], 0
    while fed < 20 * size or given[-1] != []:
        given.append(operator.take(flat(came[fed : fed + size], KX)))
        fed += size
    slack = operator.take(flat([event(fed / 1000, "end")], KX))
    assert sum(one.table.num_rows for one in slack) > size / 2
    found = rows([*(one for some in given for one in some), *slack, *operator.finish()])[:-1]
    with duckdb.connect() as reference:
        micros = np.round(times * SECOND).astype(np.int64)
        reference.register("e", pa.table({"t": micros, "k": pa.array(keys), "x": values}).slice(0, fed))
        over = f"PARTITION BY k ORDER BY t RANGE BETWEEN {length * SECOND} PRECEDING AND CURRENT ROW"
        query = f"SELECT k, t, x, count(*) OVER w, sum(x) OVER w FROM e WINDOW w AS ({over})"
        said = reference.execute(query).fetchall()
    seen = [
        (row["event.k"], _microsecond(row), row["event.x"], row["event.v.n"], row["event.v.total"]) for row in found
    ]
    assert sorted(seen) == sorted(said)


def test_what_a_sender_put_in_the_place_of_the_result_gives_way() -> None:
    operator = opened()
    columns = {**KX, ("event", "V", "n"): "VARCHAR", ("event", "v", "other"): "BIGINT"}
    events = [event(10, **{"event.V.n": "forged", "event.v.other": 5, "_extra": [("event.v.n", "1"), ("a", "2")]})]
    [row] = rows([*operator.take(flat(events, columns)), *operator.finish()])
    assert row["event.v.n"] == 1
    assert row["event.v.other"] == 5
    assert row["_extra"] == [("a", "2")]


@pytest.mark.parametrize("time", [-4e12, 4e12])
def test_a_time_far_off_breaks_nothing(time: float) -> None:
    operator = opened()
    found = [*operator.take(flat([event(0), event(time), event(1)], KX)), *operator.finish()]
    assert sum(one.table.num_rows for one in found) == 3


def test_what_is_kept_stays_near_the_events_of_the_window_however_long_it_runs() -> None:
    """Old state is dropped, small pieces become few, and what is written is about what arrived."""
    connection = engine()
    operator = open_window(step(), connection)
    held: dict[str, pa.Table] = {}
    most = written = 0
    for second in range(150):
        operator.take(flat([event(second + n / 50, f"k{n}") for n in range(50)], KX))
        written += keep(held, operator)
        most = max(most, len(held))
        kept = sum(table.num_rows for table in held.values())
        assert kept <= 50 * (LENGTH * 1.3 + LATENESS + 4) + 10
    assert connection.execute("SELECT count(*) < 12 FROM duckdb_tables()").fetchall() == [(True,)]
    assert most < 60
    assert written < 150 * 50 * 6


def test_what_went_on_of_a_kept_chunk_does_not_go_on_again_after_a_crash() -> None:
    operator = opened()
    held: dict[str, pa.Table] = {}
    operator.take(flat([event(0, id="a"), event(3, id="b")], KX))
    keep(held, operator)
    first = rows(operator.take(flat([event(LATENESS + 1, id="c")], KX)))
    operator = reopened(held, operator, opened())
    rest = rows([*operator.tick(START), *operator.finish()])
    assert [[row["event_id"] for row in found] for found in (first, rest)] == [["a"], ["b", "c"]]
    assert windows(rest) == [2, 3]


@pytest.mark.parametrize("changes", [{"length": timedelta(hours=1)}, {"lateness": timedelta(hours=1)}])
def test_many_small_batches_come_to_few_pieces(changes: dict[str, Any]) -> None:
    """Whether the events are remembered or still wait; what is small is written again and again, but not with every batch."""
    operator = opened(**changes)
    held: dict[str, pa.Table] = {}
    written = 0
    for second in range(150):
        operator.take(flat([event(second)], KX))
        written += keep(held, operator)
        assert len(held) < 30
    assert written < 150 * 150 / 7
    assert windows(rows(reopened(held, operator, opened(**changes)).finish()))[-1] == (
        150 if "length" in changes else 8
    )


def test_what_is_changed_is_told_once() -> None:
    operator = opened()
    operator.take(flat([event(0)], KX))
    assert operator.changes().put
    assert not operator.changes().put
    assert operator.letters() == []


def test_what_was_released_before_a_crash_still_counts_for_what_comes_after_it() -> None:
    operator = opened()
    before = rows(operator.take(flat([event(0, id="a"), event(10, id="b")], KX)))
    assert [row["event_id"] for row in before] == ["a"]
    operator = reopened({}, operator, opened())
    after = rows(operator.take(flat([event(6.5, id="c"), event(20, id="d")], KX)))
    assert [(row["event_id"], row["event.v.n"]) for row in after] == [("c", 2), ("b", 2)]
