"""`sample` with `per` and `dynamic`: who is kept, what the rate says, and that a restart changes nothing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flows.stateful.sampler
import flows.stateful.shares
import flows.stateful.waiting
from connectors.telemetry import EVENTS_DROPPED
from flows.engine import open_engine
from flows.stateful.operator import Operator
from flows.stateful.sampler import open_sampler
from flows.steps import Dynamic, Per, Sample
from tests.stateful.sampling import SECOND, START, Event, expected, flat, part, ran, rates, restored, save

PER = Sample(per=Per(3, "event.key"))
DYNAMIC = Sample(dynamic=Dynamic(20, "event.key"))
STEPS = [
    PER,
    DYNAMIC,
    Sample(per=Per(2)),
    Sample(per=Per(0.5, "event.key")),
    Sample(per=Per(2.5, "event.key"), keep="event.keep"),
    Sample(dynamic=Dynamic(7.5, "event.key"), keep="event.keep"),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_engine() as connection:
        yield connection


def opened(step: Sample, engine: duckdb.DuckDBPyConnection, stage: int = 0) -> Operator:
    return open_sampler(step, 2, stage, engine)


def traffic(seed: int, count: int = 3000, seconds: float = 6.0) -> list[Event]:
    """A few frequent keys and many rare ones, hardly ever out of order."""
    chance = random.Random(seed)
    times = sorted(chance.random() * seconds * SECOND for _ in range(count))
    keys = [None, *(f"user-{n}" for n in range(300))]
    return [
        Event(
            int(at) - (chance.random() < 0.02) * 200_000,
            keys[int(len(keys) * chance.random() ** 4)],
            chance.random() < 0.05,
        )
        for at in times
    ]


def model(step: Sample, events: list[Event]) -> dict[int, float]:
    if step.per and step.per.key is None:
        events = [event._replace(key=None) for event in events]
    return expected(step, events)


@pytest.mark.parametrize("step", STEPS, ids=str)
@pytest.mark.parametrize("size", [1, 23, 450, 5000])
def test_it_does_what_its_documentation_says_whatever_the_batches(
    step: Sample, size: int, engine: duckdb.DuckDBPyConnection
) -> None:
    events = traffic(1, {1: 100, 23: 700}.get(size, 3000))
    found = rates(ran(opened(step, engine), events, engine, size))
    assert found == pytest.approx(model(step, events))
    assert list(found) == sorted(found), "events overtook each other"


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_restart_at_any_point_changes_nothing(step: Sample, engine: duckdb.DuckDBPyConnection) -> None:
    events, chance = traffic(2), random.Random(3)
    operator, disk, out, first = opened(step, engine), {}, [], 0
    whole = flat(events, engine)
    while first < len(events):
        size = chance.choice([1, 5, 40, 300])
        out += operator.take(part(whole, first, size))
        first += size
        if chance.random() < 0.3:
            operator = restored(operator, opened(step, engine), disk)
        elif chance.random() < 0.7:
            save(operator, disk)
    operator = restored(operator, opened(step, engine), disk)
    assert rates(out + operator.finish()) == pytest.approx(model(step, events))


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_the_rates_count_every_event(step: Sample, engine: duckdb.DuckDBPyConnection) -> None:
    events = traffic(4)
    found = rates(ran(opened(step, engine), events, engine))
    assert len(found) < len(events)
    assert sum(1 / rate for rate in found.values()) == pytest.approx(len(events))


@pytest.mark.parametrize("step", [PER, DYNAMIC], ids=str)
def test_any_part_of_the_events_is_estimated_without_bias(step: Sample, engine: duckdb.DuckDBPyConnection) -> None:
    """The first events of every second are not what is kept: a part that always comes late is not lost."""
    late = 0.0
    errors = []
    for run in range(60):
        # of each key, the last quarter of a second's events are of the part that is asked for
        events = [Event(second * SECOND + n, f"k{n % 4}") for second in range(3) for n in range(80)]
        number = run * len(events)
        operator = opened(step, engine)
        found = rates(operator.take(flat(events, engine, number)) + operator.finish())
        late = sum(1 / rate for at, rate in found.items() if (at - number) % 80 >= 60)
        errors.append(late - 60)
    error = np.std(errors) / len(errors) ** 0.5
    assert error > 0
    assert abs(np.mean(errors)) < 4 * error


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(0, 5 * SECOND), st.sampled_from(["a", "b", "c", None]), st.booleans()),
        min_size=1,
        max_size=60,
    ),
    st.sampled_from(STEPS),
    st.integers(1, 20),
)
def test_it_does_what_its_documentation_says_of_any_events(
    engine: duckdb.DuckDBPyConnection, given: list[Any], step: Sample, size: int
) -> None:
    events = [Event(at, key, keep) for at, key, keep in given]
    assert rates(ran(opened(step, engine), events, engine, size)) == pytest.approx(model(step, events))


def test_a_throttle_keeps_so_many_of_a_key_and_second_and_no_more(engine: duckdb.DuckDBPyConnection) -> None:
    events = traffic(5)
    found = rates(ran(opened(PER, engine), events, engine))
    kept = Counter((events[number].key, rate) for number, rate in found.items())
    assert max(kept.values()) <= 3 * 6
    many = Counter(event.key for event in events)
    rare = {key for key, count in many.items() if count <= 3}
    assert rare
    assert all(rate == 1 for number, rate in found.items() if events[number].key in rare)


def test_a_target_is_met_and_a_rare_key_kept_whole(engine: duckdb.DuckDBPyConnection) -> None:
    events = [Event(second * SECOND + n, "often" if n % 50 else "rare") for second in range(4) for n in range(500)]
    found = rates(ran(opened(Sample(dynamic=Dynamic(100, "event.key")), engine), events, engine))
    kept = Counter((number // 500, events[number].key) for number in found)
    assert kept == {(second, key): count for second in range(4) for key, count in (("often", 90), ("rare", 10))}


def test_more_keys_than_the_target_has_room_for_are_all_there(engine: duckdb.DuckDBPyConnection) -> None:
    events = [Event(n, f"k{n % 60}") for n in range(600)]
    found = rates(ran(opened(DYNAMIC, engine), events, engine))
    assert sorted(Counter(events[number].key for number in found).values()) == [1] * 60


def test_keys_beyond_those_told_apart_are_one(
    engine: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.stateful.shares, "MAX_KEYS", 10)
    events = [Event(n * 1000, f"k{n % 50}") for n in range(2000)]
    for size in (1, 33, 2000):
        shown = events if size > 1 else events[:300]
        found = rates(ran(opened(PER, engine), shown, engine, size))
        kept = Counter(f"{number // 1000} {shown[number].key}" for number in found)
        own = [kept[f"0 k{n}"] for n in range(10)]
        assert own == [3] * 10
        assert sum(count for name, count in kept.items() if name.startswith("0 ")) == 33
        assert sum(1 / rate for rate in found.values()) == pytest.approx(len(shown))


def test_rates_of_earlier_stages_are_multiplied_and_each_stage_draws_anew(engine: duckdb.DuckDBPyConnection) -> None:
    events = [Event(n, "k", rate=0.25) for n in range(60)]
    first = rates(ran(opened(PER, engine), events, engine))
    second = rates(ran(opened(PER, engine, stage=1), events, engine))
    assert set(first.values()) == {0.25 * 3 / 60}
    assert set(first) != set(second)


def test_an_interval_ends_when_the_clock_says_so(engine: duckdb.DuckDBPyConnection) -> None:
    operator = opened(PER, engine)
    assert operator.take(flat([Event(10, "k")], engine)) == []
    assert operator.tick(START + SECOND - 1) == []
    assert rates(operator.tick(START + SECOND)) == {0: 1.0}
    assert operator.tick(START + 9 * SECOND) == []
    late = [Event(20, "k")] * 5  # of the second that is over
    assert operator.take(flat(late, engine, 1)) == []
    assert sorted(rates(operator.tick(START + 2 * SECOND)).values()) == [0.6] * 3


def test_a_clock_that_was_set_back_holds_nothing_up(engine: duckdb.DuckDBPyConnection) -> None:
    operator = opened(PER, engine)
    operator.take(flat([Event(3600 * SECOND, "k")], engine))
    assert rates(operator.take(flat([Event(0, "k")], engine, 1))) == {0: 1.0}
    assert rates(operator.take(flat([Event(SECOND, "k")], engine, 2))) == {1: 1.0}
    operator.take(flat([Event(7200 * SECOND, "k")], engine, 3))
    assert rates(operator.tick(START + 2 * SECOND)) == {3: 1.0}


def test_what_waits_is_bounded(engine: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.stateful.sampler, "MAX_BYTES", 20_000)
    step = Sample(per=Per(0.001, "event.key"), keep="event.keep")
    events = [Event(n, "k", keep=n % 2 == 0) for n in range(4000)]
    found = ran(opened(step, engine), events, engine, 100)
    assert sum(1 / rate for rate in rates(found).values()) == pytest.approx(4000)
    assert sum(part.table.num_rows for part in found) < 2100
    assert len(found) > 3


def test_batches_of_other_columns_keep_their_own(engine: duckdb.DuckDBPyConnection) -> None:
    operator, disk = opened(PER, engine), {}
    shapes = [
        {("event", "n"): "BIGINT"},
        {("event", "n"): "DOUBLE"},
        {("event", "n"): "JSON", ("event", "o"): "BIGINT[]"},
    ]
    given = []
    for first, shape in enumerate(shapes):
        also = {path: kind for path, kind in shape.items() if not kind.endswith("]")}
        given.append(flat([Event(first, f"k{first}")], engine, first, also))
        assert operator.take(given[-1]) == []
        operator = restored(operator, opened(PER, engine), disk)
    out = operator.finish()
    assert [part.columns for part in out] == [part.columns for part in given]
    assert [part.table.to_pylist() for part in out] == [part.table.to_pylist() for part in given]


def test_many_small_batches_become_few_pieces(engine: duckdb.DuckDBPyConnection) -> None:
    operator, disk, written = opened(Sample(per=Per(0.001, "event.key")), engine), {}, 0
    whole = flat([Event(number, f"k{number}") for number in range(500)], engine)
    for number in range(500):
        operator.take(part(whole, number, 1))
        written += save(operator, disk)
    assert len(disk) < 3 * flows.stateful.waiting._MANY
    assert written < 500 * 20
    assert len(rates(restored(operator, opened(PER, engine), disk).finish())) == 500


def test_what_is_written_follows_what_changes_and_not_what_there_is(engine: duckdb.DuckDBPyConnection) -> None:
    operator, disk = opened(Sample(per=Per(0.01, "event.key")), engine), {}
    operator.take(flat([Event(n, f"k{n}") for n in range(20_000)], engine))
    assert save(operator, disk) > 20_000
    written = 0
    for number in range(20):
        operator.take(flat([Event(SECOND + number, "k7")], engine, 20_000 + number))
        written += save(operator, disk)
    assert written < 200
    assert save(operator, disk) == 0


def test_when_an_interval_is_over_nothing_of_it_is_left(engine: duckdb.DuckDBPyConnection) -> None:
    operator, disk = opened(PER, engine), {}
    for first in range(0, 40_000, 1000):
        operator.take(flat([Event((first + n) * 1000, f"k{n}") for n in range(1000)], engine, first))
        save(operator, disk)
    operator.tick(START + 100 * SECOND)
    save(operator, disk)
    assert list(disk) == ["open"]


def test_what_is_dropped_is_counted_by_its_step_as_intended(engine: duckdb.DuckDBPyConnection) -> None:
    counter = EVENTS_DROPPED.labels("web", "steps[2]", "true")
    before = counter._value.get()
    found = ran(opened(PER, engine), events := traffic(6), engine, 100)
    assert counter._value.get() - before == len(events) - len(rates(found)) > 0


def test_a_key_that_cannot_be_read_is_a_key_without_a_value(engine: duckdb.DuckDBPyConnection) -> None:
    step = Sample(per=Per(2, "event.missing"))
    assert len(rates(ran(opened(step, engine), [Event(n, f"k{n}") for n in range(9)], engine))) == 2
