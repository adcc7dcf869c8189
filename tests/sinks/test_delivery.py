"""The front of a destination: what it takes, what it refuses, what it asks for again, and how a process ends."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from connectors.errors import Fenced, Transient
from connectors.sinks.base import Outcome, Progress, Rows
from connectors.sinks.delivery import Delivery
from connectors.sinks.delta_open import OpenTable
from connectors.source import NEAR, beginning, resumed
from tests.flows.pipelines import until
from tests.sinks.tables import Dataflow, read_table


class Recorder:
    """A writer that keeps what it is given, once it is let go on; `failures` are raised by its next commits."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.failures: list[Exception] = []
        self.going = threading.Event()
        self.going.set()
        self.resets = 0
        self.capacity = 1_000_000
        self.held_bytes = 0
        self._floors: dict[int, int] = {}

    def stage(self, partition: int, rows: Sequence[Rows], next_offset: int) -> None:
        assert self.going.wait(30)
        for part in rows:
            self.offsets += part.table["_offset"].to_pylist()
        self._floors[partition] = next_offset

    def commit(self, *, everything: bool) -> None:
        if self.failures:
            raise self.failures.pop(0)

    def floor(self, partition: int) -> int | None:
        return self._floors.get(partition)

    def reset(self) -> None:
        self.resets += 1
        self._floors.clear()


def outcome(start: int, end: int, *, only: str | None = None, width: int = 10, **more: Any) -> Outcome:
    """A row an offset, from `start` to below `end`, for the destination `d`."""
    table = pa.table({"_offset": list(range(start, end)), "text": ["x" * width] * (end - start)})
    return Outcome(0, end, {"d": [Rows("pay", table)]}, start=start, only=only, **more)


def delivery(writer: Recorder, **more: Any) -> Delivery:
    made = Delivery("d", writer, chance=lambda: 0.0, **more)
    made.begin(0, 0, 0)
    return made


def test_rows_are_taken_once_in_order_whoever_read_them() -> None:
    front = delivery(writer := Recorder())
    front.offer(outcome(0, 3))
    front.offer(outcome(5, 8))  # something is missing before it
    assert front.is_behind(0)
    assert front.wanted(0) == 3
    front.offer(outcome(3, 7, only="other"))
    front.offer(outcome(3, 7, only="d"))
    front.offer(outcome(5, 8))  # the half of it
    front.offer(outcome(0, 8))  # none of it
    until(lambda: front.floor(0) == 8, what="all of it")
    assert not front.is_behind(0)
    assert writer.offsets == list(range(8))


def test_what_there_is_no_room_for_is_refused_and_wanted_later() -> None:
    front = delivery(writer := Recorder(), capacity=20_000)
    writer.going.clear()
    for start in range(5):
        front.offer(outcome(start, start + 1, width=8_000))
    assert front.wanted(0) == 2
    assert not front.has_room()
    writer.going.set()
    until(lambda: front.floor(0) == 2, what="what was taken")
    assert front.has_room()
    for start in range(2, 5):
        front.offer(outcome(start, start + 1, width=100))
    until(lambda: front.floor(0) == 5, what="the rest")
    assert writer.offsets == list(range(5))


def test_what_is_larger_than_the_room_is_taken_when_nothing_else_waits() -> None:
    front = delivery(writer := Recorder(), capacity=1_000)
    front.offer(outcome(0, 1, width=50_000))
    until(lambda: front.floor(0) == 1, what="it")
    assert writer.offsets == [0]


def test_a_writer_that_holds_enough_is_not_fed(monkeypatch: pytest.MonkeyPatch) -> None:
    front = delivery(writer := Recorder(), capacity=20_000)
    writer.held_bytes = writer.capacity
    front.offer(outcome(0, 1, width=15_000))
    front.offer(outcome(1, 2, width=15_000))
    assert front.wanted(0) == 1
    assert writer.offsets == []
    writer.held_bytes = 0
    until(lambda: front.floor(0) == 1, what="it")


def test_after_a_failure_it_wants_again_what_is_not_safe_and_tries_it() -> None:
    front = delivery(writer := Recorder())
    front.offer(outcome(0, 3))
    until(lambda: front.floor(0) == 3, what="the first")
    writer.failures = [Transient("the store is away")] * 3
    front.offer(outcome(3, 6))
    until(lambda: writer.resets == 1, what="the failure")
    for failed in range(2, 4):
        until(front.has_room, what="a trial")
        assert (front.floor(0), front.wanted(0)) == (3, 3)
        front.offer(outcome(3, 6, only="d"))
        until(lambda failed=failed: writer.resets == failed, what="the next failure")
    until(front.has_room, what="a trial")
    front.offer(outcome(3, 6, only="d"))
    until(lambda: front.floor(0) == 6, what="the rest")


def test_it_is_left_alone_for_as_long_as_it_asked_for() -> None:
    now = [100.0]
    front = delivery(writer := Recorder(), clock=lambda: now[0])
    writer.failures = [Transient("slow down", retry_after=30)]
    front.offer(outcome(0, 1))
    until(lambda: writer.resets == 1 and not front.has_room(), what="the failure")
    front.offer(outcome(0, 1))
    assert front.wanted(0) == 0
    assert front.without_room_for() == float("inf")


def test_what_only_a_new_process_can_mend_is_raised_where_the_engine_calls() -> None:
    front = delivery(writer := Recorder())
    progress = Progress()
    progress.register(front)
    progress.check()
    writer.failures = [Fenced("another process writes here")]
    front.offer(outcome(0, 1))

    def raised() -> bool:
        try:
            progress.check()
        except Fenced:
            return True
        return False

    until(raised, what="the error")


def test_what_cannot_be_read_again_ends_the_process_when_it_fails() -> None:
    front = Delivery("d", writer := Recorder())
    writer.failures = [Transient("the store is away")]
    rows = outcome(0, 1).rows
    front.offer(Outcome(2**32, 1, rows))
    until(lambda: writer.resets == 1, what="the failure")
    with pytest.raises(Transient):
        front.offer(Outcome(2**32, 2, rows))


def test_what_cannot_be_read_again_waits_for_room() -> None:
    front = Delivery("d", writer := Recorder(), capacity=10_000)
    writer.going.clear()
    offered = threading.Thread(
        target=lambda: [front.offer(Outcome(2**32, n + 1, outcome(n, n + 1, width=8_000).rows)) for n in range(3)]
    )
    offered.start()
    until(lambda: front.floor(2**32) is not None, what="the first")
    assert front.wanted(2**32) == 1
    writer.going.set()
    offered.join(30)
    until(lambda: front.floor(2**32) == 3, what="the others")
    assert writer.offsets == [0, 1, 2]


def test_one_that_is_short_of_room_is_waited_for_only_a_while() -> None:
    now = [0.0]
    slow = Recorder()
    fronts = [delivery(slow, capacity=10_000, clock=lambda: now[0]), Delivery("e", Recorder())]
    fronts[1].begin(0, 0, 0)
    progress = Progress()
    for front in fronts:
        progress.register(front)
    assert progress.may_read(0)
    slow.going.clear()
    fronts[0].offer(outcome(0, 1, width=8_000))
    assert not progress.may_read(0)
    now[0] += 60
    assert progress.may_read(0)
    fronts[1].begin(0, 0, 1)  # the only other one has to be read for again first
    assert not progress.may_read(0)
    slow.going.set()


def test_a_table_is_asked_again_after_a_reset_and_nothing_is_doubled(tmp_path: Path) -> None:
    dataflow = Dataflow(tmp_path)
    dataflow.take([{"source": "s", "event": {"a": 1}}], offset=0)
    dataflow.stage([{"source": "s", "event": {"a": 2}}], offset=1)
    assert dataflow.writer.held_bytes > 0
    dataflow.writer.reset()
    assert dataflow.writer.held_bytes == 0
    assert dataflow.writer.floor(0) is None
    for offset in range(3):
        dataflow.stage([{"source": "s", "event": {"a": offset + 1}}], offset=offset)
    dataflow.commit()
    assert sorted(row["event"]["a"] for row in read_table(tmp_path / "payments")) == [1, 2, 3]


def test_a_commit_whose_answer_was_lost_is_found_after_a_reset_and_the_same_writer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = OpenTable.append

    def unanswered(*given: Any, **options: Any) -> None:
        write(*given, **options)
        raise OSError("the connection was reset")

    dataflow = Dataflow(tmp_path)
    dataflow.take([{"source": "s", "event": {"a": 1}}], offset=0)
    dataflow.stage([{"source": "s", "event": {"a": 2}}], offset=1)
    monkeypatch.setattr(OpenTable, "append", unanswered)
    with pytest.raises(Transient):
        dataflow.commit()
    monkeypatch.undo()
    dataflow.writer.reset()
    for offset in range(3):
        dataflow.stage([{"source": "s", "event": {"a": offset + 1}}], offset=offset)
    dataflow.commit()
    assert sorted(row["event"]["a"] for row in read_table(tmp_path / "payments")) == [1, 2, 3]


@pytest.mark.parametrize(
    ("state", "published", "floors"),
    [
        (None, 0, {"a": 0, "b": 0}),
        (None, 5, {"a": 5, "b": 5}),
        (7, 5, {"a": 7, "b": 7}),  # of a version that kept one for all
        (3, 5, {"a": 5, "b": 5}),
        ({"a": 9, "b": 4}, 5, {"a": 9, "b": 5}),
        ({"a": 9, "gone": 1}, 0, {"a": 9, "b": 9}),
        ({"a": 9, "gone": 1}, 12, {"a": 12, "b": 12}),
        ({"gone": 1}, 0, {"a": 0, "b": 0}),
    ],
)
def test_where_each_destination_resumes(state: Any, published: int, floors: dict[str, int]) -> None:
    assert resumed(state, ["a", "b"], published) == floors


def test_reading_for_all_begins_where_the_furthest_are() -> None:
    assert beginning({"a": 10 * NEAR, "b": 10 * NEAR - 5, "c": 3}) == 10 * NEAR - 5
    assert beginning({"a": 3, "b": 3}) == 3
    assert beginning({}) == 0
