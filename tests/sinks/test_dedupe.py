"""The memory of Idempotency-Keys: the same requests are kept whatever the restarts, and it stays bounded."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from connectors import dedupe
from connectors.dedupe import Dedupe
from connectors.record import Record, keyed_request_id, new_request_id

HOUR = 3_600_000_000
STREAM, OTHER = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f", "b0c3b4de-1923-4ff1-8dba-f92ad912d20f"


def record(key: str | None, minutes: float, *, stream: str = STREAM, index: int = 0) -> Record:
    request = new_request_id() if key is None else keyed_request_id(stream, key)
    return Record(stream, request, round(minutes * 60_000_000), 1, b"{}", index)


def kept(memory: Dedupe, records: list[Record], first: int = 0) -> list[int]:
    return [at for at, one in enumerate(records, first) if not memory.is_repeat(one, at)]


def test_a_repeat_within_the_window_is_left_out_and_one_past_it_is_new() -> None:
    records = [record("k", 0), record("k", 60), record("k", 120.1), record("k", 121)]
    assert kept(Dedupe({STREAM: HOUR}), records) == [0, 2]


def test_requests_without_a_key_are_never_repeats() -> None:
    one = record(None, 0)
    assert kept(Dedupe({STREAM: HOUR}), [one, one]) == [0, 1]


def test_a_key_is_its_streams_own() -> None:
    assert kept(Dedupe({STREAM: HOUR, OTHER: HOUR}), [record("k", 0), record("k", 1, stream=OTHER)]) == [0, 1]


def test_each_event_of_a_request_packed_one_a_record_is_kept_once() -> None:
    records = [record("k", 0, index=0), record("k", 0, index=1), record("k", 1, index=0), record("k", 1, index=1)]
    assert kept(Dedupe({STREAM: HOUR}), records) == [0, 1]


def test_an_original_read_again_is_still_the_original() -> None:
    memory = Dedupe({STREAM: HOUR})
    records = [record("k", 0), record("k", 1)]
    assert kept(memory, records) == [0]
    assert kept(memory, records) == [0]


def test_the_memory_is_of_the_window_alone() -> None:
    memory = Dedupe({STREAM: HOUR})
    kept(memory, [record(str(minute), minute) for minute in range(600)])
    assert len(memory._seen) <= 66
    assert len(memory._order) <= 66


def test_the_memory_is_bounded_within_the_window_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedupe, "MAX_REMEMBERED", 100)
    memory = Dedupe({STREAM: HOUR})
    kept(memory, [record(str(number), 0) for number in range(500)])
    assert len(memory._seen) <= 100
    assert len(memory._order) <= 100


requests = st.lists(
    st.tuples(st.sampled_from([None, "a", "b", "c"]), st.integers(-2, 50), st.booleans(), st.integers(0, 1)),
    max_size=30,
)


@given(requests, st.lists(st.integers(0, 30), max_size=4))
@settings(max_examples=500)
def test_any_restart_keeps_the_same_requests(
    steps: list[tuple[str | None, int, bool, int]], restarts: list[int]
) -> None:
    """Received-at mostly grows but may step back (two gateways' clocks); a restart reads on from an older offset."""
    windows = {STREAM: HOUR, OTHER: 0}
    records, clock, newest = [], 100.0, 100.0
    for key, minutes, other, index in steps:
        newest = max(newest, clock + minutes)
        clock = max(clock + minutes, newest - 5)
        records.append(record(key, clock, stream=OTHER if other else STREAM, index=index))
    expected = kept(Dedupe(windows), records)
    for start in [min(restart, len(records)) for restart in restarts]:
        memory = Dedupe(windows)
        if start < len(records):
            since = records[start].received_at - memory.longest
            memory.remember(
                (one.stream, one.request_id, one.first_index, one.received_at, at)
                for at, one in enumerate(records[:start])
                if one.keyed and one.received_at >= since
            )
        assert kept(memory, records[start:], start) == [at for at in expected if at >= start]
