"""What holds for every destination that events are sent to: order, retries, refusals, the floor, what is in memory."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from connectors.errors import ConfigError, HeadraceError, Rejected, Transient
from connectors.sinks.base import Rows
from connectors.sinks.batching import Batching
from connectors.sinks.connection import Refusal, Unfinished
from connectors.sinks.delta_open import OpenTable
from connectors.sinks.lane import Lane
from connectors.sinks.overlap import PLACE
from connectors.sinks.pace import Pace, jittered
from connectors.telemetry import DEAD_LETTERS
from tests.sinks.sending import Sending, event, ids, rows_of, settled
from tests.sinks.tables import STREAM

Answer = Callable[[str, pa.Table], Sequence[Refusal]]


class Place:
    """A destination in memory: takes what `answer` does not object to, and notes what was under way at once."""

    def __init__(self, answer: Answer = lambda _stream, _rows: ()) -> None:
        self.answer = answer
        self.max_rows, self.max_bytes = 1_000, 10_000_000
        self.requests: list[list[str]] = []
        self.took: list[str] = []
        self.connections = 0
        self._lock = threading.Lock()

    def connect(self) -> Place:
        self.connections += 1
        return self

    def send(self, stream: str, rows: pa.Table) -> Sequence[Refusal]:
        with self._lock:
            self.requests.append(ids(rows))
            try:
                refusals = self.answer(stream, rows)
            except Unfinished as exc:
                gone = {*exc.left, *(refusal.row for refusal in exc.refusals)}
                self.took += [one for place, one in enumerate(ids(rows)) if place not in gone]
                raise
            refused = {refusal.row for refusal in refusals}
            self.took += [one for place, one in enumerate(ids(rows)) if place not in refused]
            return refusals

    def close(self) -> None:
        self.connections -= 1


def test_what_a_row_says_of_its_place_in_the_log_is_not_sent(tmp_path: Path) -> None:
    columns: list[str] = []
    place = Place(lambda _stream, rows: columns.extend(rows.column_names) or ())
    sending = Sending(place, tmp_path, Batching(rows=7))
    rows = rows_of([event(1)])
    sending.deliver(rows.append_column(PLACE, pa.array([5])))
    assert place.took == ids(rows)
    assert columns
    assert PLACE not in columns


class Failing:
    """Answers with these errors first, then takes everything."""

    def __init__(self, *errors: HeadraceError) -> None:
        self._errors = list(errors)

    def __call__(self, _stream: str, _rows: pa.Table) -> Sequence[Refusal]:
        if self._errors:
            raise self._errors.pop(0)
        return ()


def test_rows_arrive_in_order_and_the_floor_follows_what_was_taken(tmp_path: Path) -> None:
    place = Place()
    sending = Sending(place, tmp_path, Batching(rows=7))
    rows = rows_of(*([event(n), event(-n)] for n in range(50)))
    assert sending.writer.floor(0) is None
    sending.deliver(rows)
    assert place.took == ids(rows)
    assert max(map(len, place.requests)) == 7
    assert sending.writer.held_bytes == 0
    assert sending.dead() == []


def test_a_look_is_about_what_is_held_and_not_about_every_stream_there_ever_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = Failing(Transient("down"), Rejected("never"))
    place = Place(refused)
    sending = Sending(place, tmp_path)
    for number in range(30):
        end = sending.hand_over(rows_of([event(number)], first=number), stream=f"s{number}")
    settled(lambda: sending.writer.floor(0) == end, "the floor")
    assert (len(place.took), len(sending.dead())) == (29, 1)
    looked_at: set[str] = set()
    due = Lane.due

    def noted(lane: Lane, *given: Any, **options: Any) -> float | None:
        looked_at.add(lane.stream)
        return due(lane, *given, **options)

    monkeypatch.setattr(Lane, "due", noted)
    sending.deliver(rows_of([event(1)], first=30))
    assert looked_at == {STREAM}
    assert len(place.took) == 30


def test_rows_that_wait_together_are_sent_together_once_the_oldest_has_lingered(tmp_path: Path) -> None:
    place = Place()
    sending = Sending(place, tmp_path, Batching(linger=timedelta(seconds=2)))  # longer than handing over takes
    for offset in range(5):
        end = sending.hand_over(rows_of([event(1)], first=offset))
    settled(lambda: sending.writer.floor(0) == end, "the floor")
    assert [len(request) for request in place.requests] == [5]


def test_what_fails_is_sent_again_until_it_is_taken(tmp_path: Path) -> None:
    place = Place(Failing(Transient("down"), ConfigError("wrong password"), Transient("slow", retry_after=0.01)))
    sending = Sending(place, tmp_path)
    sending.deliver(rows_of([event(1)], [event(2)]))
    assert len(place.requests) == 4
    assert len({tuple(request) for request in place.requests}) == 1
    assert len(place.took) == 2
    assert sending.writer.trouble is None


def test_a_destination_that_is_down_says_why_and_holds_no_one_up(tmp_path: Path) -> None:
    place = Place(Failing(*[Transient("no route to it")] * 1000))
    sending = Sending(place, tmp_path, Batching(capacity=2_000))
    rows = rows_of([event(1)])
    sending.hand_over(rows)
    settled(lambda: sending.writer.trouble is not None, "trouble")
    assert sending.writer.trouble == "no route to it"
    assert sending.writer.room()
    offset = 1
    while sending.writer.room():
        sending.hand_over(rows_of([event(1)], first=offset))
        offset += 1
    assert sending.writer.held_bytes >= 2_000
    assert sending.writer.floor(0) == 0


def test_only_what_was_left_is_sent_again(tmp_path: Path) -> None:
    place = Place(Failing(Unfinished("busy", left=[1, 3], refusals=[Refusal(2, "bad")])))
    sending = Sending(place, tmp_path)
    rows = rows_of([event(n) for n in range(5)])
    sending.deliver(rows)
    sent = ids(rows)
    assert place.requests == [sent, [sent[1], sent[3]]]
    assert [letter["event_id"] for letter in sending.dead()] == [sent[2]]


def test_a_refused_row_is_a_dead_letter_before_the_floor_passes_it(tmp_path: Path) -> None:
    def answer(_stream: str, rows: pa.Table) -> Sequence[Refusal]:
        numbers = rows.column("event").combine_chunks().field("n").to_pylist()
        return [Refusal(place, f"{n} is odd") for place, n in enumerate(numbers) if n % 2]

    place = Place(answer)
    sending = Sending(place, tmp_path, Batching(rows=3))
    sending.deliver(rows_of([event(n, secret="***") for n in range(10)], [event(11)], [event(12)], first=7))
    letters = sending.dead()
    assert [(letter["offset"], letter["index"]) for letter in letters] == [(7, n) for n in range(1, 10, 2)] + [(8, 0)]
    first = letters[0]
    assert (first["stage"], first["destination"], first["error"]) == ("destination", "out", "1 is odd")
    assert (first["stream"], first["topic"], first["partition"]) == ("payments", "events", 0)
    payload = json.loads(first["payload"])
    assert payload["event"] == {"n": 1, "secret": "***"}
    assert payload["timestamp"] == "2025-02-12T14:32:15.500000Z"
    assert set(payload) == {"timestamp", "source", "event"}


def test_what_is_refused_again_after_a_restart_is_one_dead_letter(tmp_path: Path) -> None:
    def refuse(_stream: str, rows: pa.Table) -> Sequence[Refusal]:
        return [Refusal(place, "no") for place in range(rows.num_rows)]

    rows = rows_of([event(n) for n in range(5)], [event(5)])
    Sending(Place(refuse), tmp_path, Batching(rows=2)).deliver(rows)
    again = Sending(Place(refuse), tmp_path, Batching(rows=4))
    again.deliver(rows)
    again.deliver(rows_of([event(6)], first=2))
    assert [letter["event_id"] for letter in again.dead()] == [*ids(rows), *ids(rows_of([event(6)], first=2))]


def test_dead_letters_whose_commit_is_not_acknowledged_are_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = OpenTable.append

    def unanswered(*given: Any, **options: Any) -> None:
        write(*given, **options)
        raise OSError("the connection was reset")

    monkeypatch.setattr(OpenTable, "append", unanswered)
    counter = DEAD_LETTERS.labels(STREAM, "destination")._value
    before = counter.get()
    sending = Sending(Place(lambda _stream, rows: [Refusal(0, "no")]), tmp_path, Batching(rows=2))
    sending.deliver(rows_of([event(n) for n in range(2)]))
    assert len(sending.dead()) == 1
    assert counter.get() - before == 1


def test_the_refused_rows_of_a_record_that_is_half_sent_wait_for_the_rest(tmp_path: Path) -> None:
    def answer(_stream: str, rows: pa.Table) -> Sequence[Refusal]:
        if len(place.requests) == 2:
            raise Transient("gone")
        return [Refusal(0, "no")]

    place = Place(answer)
    sending = Sending(place, tmp_path, Batching(rows=2))
    sending.hand_over(rows_of([event(n) for n in range(4)]))
    settled(lambda: len(place.requests) >= 2, "two requests")
    assert sending.writer.floor(0) == 0
    settled(lambda: sending.writer.floor(0) == 1, "the floor")
    assert [letter["index"] for letter in sending.dead()] == [0, 2]


def test_a_batch_that_will_never_be_taken_is_dead_letters(tmp_path: Path) -> None:
    place = Place(Failing(Rejected("not this kind")))
    sending = Sending(place, tmp_path)
    sending.deliver(rows_of([event(1), event(2)]))
    assert [letter["error"] for letter in sending.dead()] == ["not this kind"] * 2
    assert place.took == []


def test_a_value_that_fits_no_column_stays_with_its_dead_letter(tmp_path: Path) -> None:
    sending = Sending(Place(Failing(Rejected("no"))), tmp_path)
    odd = {"source": "app", "event": {"a": 1, "A": 2}, "extra": [1, {"b": None}]}
    sending.deliver(rows_of([odd]))
    payload = json.loads(sending.dead()[0]["payload"])
    assert payload["event"]["a"] == 1
    assert payload["_rescued"]["extra"] == [1, {"b": None}]


def test_dead_letters_that_cannot_be_written_hold_the_floor_until_they_can(tmp_path: Path) -> None:
    place = Place(Failing(Rejected("no")))
    sending = Sending(place, tmp_path)
    sending.letters.write_text("a file where the table should be")
    end = sending.hand_over(rows_of([event(1)]))
    settled(lambda: sending.writer.trouble is not None, "trouble")
    assert sending.writer.floor(0) == 0
    sending.letters.unlink()
    settled(lambda: sending.writer.floor(0) == end, "the floor")
    assert len(sending.dead()) == 1


def test_partitions_are_sent_side_by_side_and_each_one_request_after_the_other(tmp_path: Path) -> None:
    meeting = threading.Barrier(2, timeout=30)
    under_way: list[str] = []

    class Meeting(Place):
        def send(self, stream: str, rows: pa.Table) -> Sequence[Refusal]:
            lane = ids(rows)[0][19:23]
            assert lane not in under_way
            under_way.append(lane)
            if len(self.took) >= 10:  # the first answers open the way for a second request
                meeting.wait()
            self.took += ids(rows)
            under_way.remove(lane)
            return ()

    place = Meeting()
    sending = Sending(place, tmp_path, Batching(rows=1))
    sending.deliver(rows_of(*([event(n)] for n in range(10))))
    sent = [rows_of(*([event(n)] for n in range(10)), partition=partition) for partition in (1, 2)]
    for partition, rows in enumerate(sent, 1):
        sending.hand_over(rows, partition=partition)
    settled(lambda: [sending.writer.floor(1), sending.writer.floor(2)] == [10, 10], "both floors")
    for rows in sent:
        assert [one for one in place.took if one in set(ids(rows))] == ids(rows)


def test_streams_of_a_partition_do_not_wait_for_each_other(tmp_path: Path) -> None:
    def answer(stream: str, _rows: pa.Table) -> Sequence[Refusal]:
        if stream == "bad":
            raise Transient("not this one")
        return ()

    place = Place(answer)
    sending = Sending(place, tmp_path)
    good = rows_of(*([event(n)] for n in range(20)), first=1)
    sending.writer.stage(0, [Rows("bad", rows_of([event(0)])), Rows("good", good)], 21)
    settled(lambda: place.took == ids(good), "the good stream")
    assert sending.writer.floor(0) == 0


def test_rows_of_another_shape_are_sent_apart(tmp_path: Path) -> None:
    place = Place()
    sending = Sending(place, tmp_path, Batching(linger=timedelta(milliseconds=200)))
    sending.hand_over(rows_of([event(1)]))
    sending.deliver(rows_of([event(2, other="x")], first=1))
    assert [len(request) for request in place.requests] == [1, 1]


def test_large_rows_are_sent_in_smaller_numbers(tmp_path: Path) -> None:
    place = Place()
    sending = Sending(place, tmp_path, Batching(size=50_000))
    sending.deliver(rows_of([event(n, text="x" * 10_000) for n in range(20)]))
    assert 4 < len(place.requests) <= 10
    assert len(place.took) == 20


def test_a_bug_ends_the_dataflow_instead_of_going_unseen(tmp_path: Path) -> None:
    def answer(_stream: str, _rows: pa.Table) -> Sequence[Refusal]:
        raise KeyError("a bug")

    sending = Sending(Place(answer), tmp_path)
    sending.hand_over(rows_of([event(1)]))

    def raised() -> bool:
        try:
            sending.writer.floor(0)
        except KeyError:
            return True
        return False

    settled(raised, "the bug")


def test_closing_ends_connections(tmp_path: Path) -> None:
    place = Place()
    sending = Sending(place, tmp_path)
    sending.deliver(rows_of([event(1)]))
    assert place.connections == 1
    sending.writer.close()
    assert place.connections == 0


def test_more_requests_are_made_at_once_while_answers_stay_fast_and_fewer_when_they_slow_down() -> None:
    pace = Pace(8, random.Random(1))
    now = 0.0
    for _ in range(40):
        now += 0.05
        pace.succeeded(0.05, now)
    assert pace.limit == 8
    for seconds in (1.3**step for step in range(15)):
        now += 1000.0
        pace.succeeded(seconds, now)
    assert pace.limit < 4


def test_a_failure_halves_the_requests_and_several_open_the_circuit_until_one_succeeds() -> None:
    pace = Pace(8, random.Random(1))
    for now in range(40):
        pace.succeeded(0.05, float(now))
    pace.failed(0.05, 100.0)
    assert (pace.limit, pace.is_open, pace.not_before) == (4, False, 100.0)
    for now in range(101, 105):
        pace.failed(0.05, float(now))
    assert (pace.limit, pace.is_open) == (1, True)
    assert pace.not_before > 104.0
    pace.succeeded(0.05, 200.0)
    assert not pace.is_open


def test_the_destination_says_when_to_come_again() -> None:
    pace = Pace(8, random.Random(1))
    pace.failed(0.05, 100.0, retry_after=7.5)
    assert pace.not_before == 107.5


@pytest.mark.parametrize("attempt", [1, 3, 8, 1000])
def test_pauses_are_spread_over_a_span_that_doubles_up_to_a_bound(attempt: int) -> None:
    chance = random.Random(7)
    pauses = [jittered(attempt, chance) for _ in range(500)]
    bound = min(30.0, 0.1 * 2**attempt)
    assert 0.9 * bound < max(pauses) <= bound
    assert min(pauses) < 0.1 * bound
