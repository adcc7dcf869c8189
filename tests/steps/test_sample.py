"""`sample`: who is kept, together with whom, and what the rate says."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.config import Stream
from flows.routes import Route
from flows.steps import Filter, Sample
from tests.steps.parsing import process
from tests.steps.processing import dropped, processed

EVENTS = [{"k": f"user-{n % 2000}", "status": "declined" if n % 50 == 0 else "ok"} for n in range(6000)]


def _keys(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(row["event"]["k"] for row in rows)


def test_a_key_is_kept_whole_or_not_at_all() -> None:
    kept = _keys(processed([Sample(0.3, "event.k")], EVENTS))
    assert set(kept.values()) == {3}
    assert 500 < len(kept) < 700


def test_what_a_lower_rate_keeps_a_higher_one_keeps_too() -> None:
    sets = [set(_keys(processed([Sample(rate, "event.k")], EVENTS))) for rate in (0.01, 0.1, 0.5, 1.0)]
    assert sets[0] < sets[1] < sets[2] < sets[3]
    assert len(sets[3]) == 2000


def test_the_decision_is_the_sha256_of_the_keys_text() -> None:
    kept = set(_keys(processed([Sample(0.25, "event.k")], EVENTS)))
    share = {key: int(hashlib.sha256(key.encode()).hexdigest()[:13], 16) / 2**52 for key in _keys_of(EVENTS)}
    assert kept == {key for key, place in share.items() if place < 0.25}


@pytest.mark.parametrize("rate", [1e-15, 0.001, 1 / 3, 0.7, 1 - 1e-16, 1.0])
def test_a_rate_is_the_share_of_all_hashes_that_it_keeps(rate: float) -> None:
    share = {key: int(hashlib.sha256(key.encode()).hexdigest()[:13], 16) / 2**52 for key in _keys_of(EVENTS)}
    assert set(_keys(processed([Sample(rate, "event.k")], EVENTS))) == {key for key in share if share[key] < rate}


def test_a_dropped_event_goes_nowhere_and_is_counted_once_whatever_the_routes() -> None:
    routes = (
        Route(to=("big",), when="event.n >= 50", also=True),
        Route(to=("odd",), when="event.n % 2 = 1"),
        Route(to=("lake", "copy")),
    )
    steps = (Filter("event.n IS DISTINCT FROM 7"), Sample(0.5, "event.k"))
    before = dropped("steps[0]"), dropped("steps[1]")
    taken = process(Stream(id="x", steps=steps, routes=routes), [_numbered(n) for n in range(100)])
    share = {n: int(hashlib.sha256(f"user-{n}".encode()).hexdigest()[:13], 16) / 2**52 for n in range(100)}
    kept = [n for n in range(100) if n != 7 and share[n] < 0.5]
    found = {name: [row["event"]["n"] for row in rows] for name, rows in taken.items()}
    even = [n for n in kept if n % 2 == 0]
    assert found == {"big": [n for n in kept if n >= 50], "odd": [n for n in kept if n % 2], "lake": even, "copy": even}
    assert (dropped("steps[0]") - before[0], dropped("steps[1]") - before[1]) == (1, 99 - len(kept))


def _numbered(n: int) -> dict[str, Any]:
    return {"source": "a", "event": {"n": n, "k": f"user-{n}"}}


def _keys_of(events: list[dict[str, Any]]) -> set[str]:
    return {event["k"] for event in events}


def test_a_key_is_the_same_as_a_number_and_as_a_text() -> None:
    numbers = {row["event"]["k"] for row in processed([Sample(0.3, "event.k")], [{"k": n} for n in range(300)])}
    texts = {row["event"]["k"] for row in processed([Sample(0.3, "event.k")], [{"k": str(n)} for n in range(300)])}
    assert {str(n) for n in numbers} == texts


def test_keep_takes_events_at_their_full_rate() -> None:
    rows = processed([Sample(0.1, "event.k", "event.status = 'declined'")], EVENTS)
    rates = {(row["event"]["status"], row["_sample_rate"]) for row in rows}
    assert rates == {("declined", 1.0), ("ok", 0.1)}
    assert sum(row["event"]["status"] == "declined" for row in rows) == 120


def test_stages_multiply_and_draw_each_for_itself() -> None:
    rows = processed([Sample(0.5, "event.k"), Sample(0.2, "event.k")], EVENTS)
    assert {row["_sample_rate"] for row in rows} == {0.1}
    assert 130 < len(_keys(rows)) < 270


@pytest.mark.parametrize("key", ["event.missing", "NULL", None])
def test_an_event_without_a_key_stands_for_itself(key: str | None) -> None:
    rows = processed([Sample(0.2, key)], EVENTS)
    assert 1000 < len(rows) < 1400
    assert set(_keys(rows).values()) > {1}


def test_what_is_dropped_is_counted_by_its_step_as_intended() -> None:
    before = dropped("steps[1]")
    rows = processed([Filter("event.status = 'ok'"), Sample(0.1, "event.k")], EVENTS)
    assert dropped("steps[1]") - before == 5880 - len(rows)


def test_an_event_that_no_sample_saw_has_the_rate_one() -> None:
    assert {row["_sample_rate"] for row in processed([], EVENTS[:3])} == {1.0}


@settings(max_examples=10)
@given(st.lists(st.sampled_from([0.2, 0.35, 0.5, 0.8]), min_size=1, max_size=3), st.integers(0, 10**9))
def test_the_rates_estimate_how_many_events_there_were(rates: list[float], seed: int) -> None:
    events = [{"k": f"{seed}-{n}", "status": "declined" if n % 9 == 0 else "ok"} for n in range(4000)]
    rows = processed([Sample(rate, "event.k", "event.status = 'declined'") for rate in rates], events)
    estimate = sum(1 / row["_sample_rate"] for row in rows)
    product = 1.0
    for rate in rates:
        product *= rate
    deviation = (3556 * (1 - product) / product) ** 0.5
    assert abs(estimate - 4000) < 6 * deviation
