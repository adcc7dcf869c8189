"""Where records without a key go: together what comes together, and everywhere as much in the long run."""

from __future__ import annotations

from collections import Counter

from connectors.log.placement import Turns


def test_a_turn_lasts_from_its_first_record_on_and_the_next_begins_with_the_next_record() -> None:
    now = [100.0]
    turns = Turns(0.005, 1_000, lambda: now[0])
    first = turns.take(1)
    now[0] += 0.0049
    assert turns.take(1) == first
    now[0] += 0.0002
    assert turns.take(1) == first + 1
    now[0] += 60.0  # however long nothing came: no turn is passed over
    assert turns.take(1) == first + 2


def test_a_turn_that_is_full_ends_and_one_record_may_be_larger_than_any() -> None:
    turns = Turns(60.0, 1_000, lambda: 0.0)
    first = turns.take(600)
    assert [turns.take(400), turns.take(1), turns.take(5_000), turns.take(1)] == [first, *range(first + 1, first + 4)]


def test_records_that_come_one_by_one_are_spread_evenly() -> None:
    now = iter(range(1_200))
    turns = Turns(0.005, 1_000, lambda: float(next(now)))
    assert set(Counter(turns.take(1) % 12 for _ in range(1_200)).values()) == {100}
