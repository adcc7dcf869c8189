"""The Bytewax source of the streams that have a memory: their outcomes, beside those of the log's partitions.

A process has one partition of it, always and under one name, whatever streams there are: Bytewax cannot take a name
away. What there is to remember lies in the streams' own stores.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.errors import HeadraceError, Transient
from connectors.logger import get_logger
from connectors.sinks.base import Outcome, Progress
from connectors.source import Stop, next_look, part_name
from flows.stateful.lane import Lane

_log = get_logger()

NAME = "streams"

_RETRY = 1.0  # seconds
_HEARTBEAT = 0.1  # seconds between requests to commit, at the end
_EPOCH_ROUNDS = 8  # handed on within one epoch: the engine's own queues have no bound


class StreamsSource(FixedPartitionedSource[tuple[str, Outcome], None]):
    """Runs the lanes that `open_lanes` gives, in this process and thread."""

    def __init__(self, open_lanes: Callable[[], Sequence[Lane]], progress: Progress, stop: Stop, count: int) -> None:
        """`count` is how many lanes there will be."""
        self._open_lanes = open_lanes
        self._progress = progress
        self._stop = stop
        for number in range(count):
            stop.expect(-1 - number)

    def list_parts(self) -> list[str]:
        return [NAME]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Partition:
        running = [_Running(lane, -1 - n, self._progress, self._stop) for n, lane in enumerate(self._open_lanes())]
        return _Partition(running)


class _Partition(StatefulSourcePartition[tuple[str, Outcome], None]):
    def __init__(self, lanes: Sequence[_Running]) -> None:
        self._lanes = lanes
        self._awake: datetime | None = None

    def next_batch(self) -> list[tuple[str, Outcome]]:
        outcomes = [(part_name(o.partition), o) for lane in self._lanes if (o := lane.next()) is not None]
        busy = any(outcome.rows for _, outcome in outcomes)
        self._awake = None if busy else next_look()  # without lanes too: an epoch ends for all sources or for none
        return outcomes

    def next_awake(self) -> datetime | None:
        return self._awake

    def snapshot(self) -> None:
        for lane in self._lanes:
            lane.epoch_ended()

    def close(self) -> None:
        for lane in self._lanes:
            lane.close()


class _Running:
    """A lane between the engine's calls: for all destinations or for one that is behind, the epoch's budget, the stop."""

    def __init__(self, lane: Lane, token: int, progress: Progress, stop: Stop) -> None:
        self._lane = lane
        self._token = token
        self._progress = progress
        self._stop = stop
        self._rounds = 0
        self._retry_at = 0.0
        self._heartbeat = 0.0
        self._mains_turn = True
        floors = lane.open(progress.names)
        progress.begin(lane.number, floors, lane.handed_over)

    def next(self) -> Outcome | None:
        if self._rounds >= _EPOCH_ROUNDS or time.monotonic() < self._retry_at:
            return None
        ended = all(self._stop.ends(partition, offset) for partition, offset in self._lane.read_to().items())
        try:
            outcome = self._for_one() or self._for_all(ended=ended)
        except Transient as exc:
            _log.warning("the log cannot be read; trying again", reason=str(exc))
            self._retry_at = time.monotonic() + _RETRY
            return None
        except (sqlite3.Error, OSError) as exc:
            raise HeadraceError(f"the state of a stream cannot be written: {exc}", remedy="free some room") from exc
        if outcome is not None:
            self._rounds += 1
            return outcome
        return self._finish() if ended and (self._stop.requested or not self._lane.waits()) else None

    def _for_all(self, *, ended: bool) -> Outcome | None:
        if self._stop.requested or not self._progress.may_read(self._lane.number):
            return None
        outcome = self._lane.next(reading=not ended)
        if outcome is not None:
            self._progress.expect(outcome.size)
        return outcome

    def _for_one(self) -> Outcome | None:
        """What a destination that is behind and has room is to have next; never two in a row before the others' turn."""
        self._mains_turn = not self._mains_turn
        if self._mains_turn or self._stop.requested:
            return None
        number = self._lane.number
        for delivery in self._progress.behind(number):
            if delivery.has_room():
                outcome = self._lane.again(delivery.name, delivery.wanted(number), delivery.ticket(number))
                if outcome is not None:
                    delivery.expect(outcome.size)
                    return outcome
        return None

    def _finish(self) -> Outcome | None:
        """The end: of a stop once what was taken is safe, of a drain once every destination has all."""
        number, position = self._lane.number, self._lane.handed_over
        if self._stop.requested:
            done = self._progress.holds_nothing(number, position)
        else:
            done = self._progress.floor(number, 0) >= position
        if done:
            self._stop.safe(self._token)
        if done or time.monotonic() - self._heartbeat < _HEARTBEAT:
            return None
        self._heartbeat = time.monotonic()
        return Outcome(number, position, {}, flush=True, start=position)

    def epoch_ended(self) -> None:
        self._rounds = 0
        self._lane.save(self._progress.floors(self._lane.number, 0))

    def close(self) -> None:
        self._lane.close()
