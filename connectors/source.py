"""The Bytewax source: partitions of the log, each read once for all destinations, and again for one that fell behind.

A destination that has no room or fails is passed over (`connectors.sinks.delivery`); the others go on. What it wants is
read again, from where it wants it, by a cursor of its own, in turns with the one that reads for all, until it has
caught up. The state handed to Bytewax's recovery is every destination's *floor* (`connectors.sinks.base`), not a reading
position: what a destination still holds uncommitted is read again after a crash, and it skips what it has.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.batch import LogBatch
from connectors.cursor import Cursor, Reading
from connectors.errors import Transient
from connectors.log import Log
from connectors.logger import get_logger
from connectors.sinks.base import Progress
from connectors.sinks.delivery import Delivery

_log = get_logger()

EPOCH_BYTES = 128 * 1024 * 1024
"""Values a partition hands on within one epoch: the engine's own queues have no bound."""

NEAR = 20_000
"""Records by which floors may differ and still be read from together after a restart: reading them twice costs more."""

_HEARTBEAT = 0.1  # seconds between requests to commit, at the end
_RETRY = 1.0  # seconds until a log that could not be read is read again


IDLE = timedelta(milliseconds=20)


def next_look() -> datetime:
    """When a source that has nothing looks again: at an instant that all sources of the process share.

    The engine wakes for the first that is due, and only for it: sources whose instants have drifted apart, as any delay
    has them do, cost it a round each. A source looks so often while its log is away too: the engine spins until one wakes
    whose epoch has ended.
    """
    now = datetime.now(UTC)
    return now + IDLE - (now - _BEGINNING) % IDLE


_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


class Stop:
    """A process's clean stop: reading ends (at once, or at the offsets of a drain), destinations commit, then `done`."""

    def __init__(self, drain_to: Mapping[int, int] | None = None) -> None:
        self._requested = threading.Event()
        self._drain_to = drain_to
        self._waiting: set[int] = set()
        self.started = threading.Event()
        self.done = threading.Event()

    def request(self) -> None:
        """Ends reading; safe in a signal handler."""
        self._requested.set()

    @property
    def requested(self) -> bool:
        """Whether reading is to end at once, wherever it is."""
        return self._requested.is_set()

    def extend(self, drain_to: Mapping[int, int]) -> None:
        """After `done`, a drain goes on up to these offsets. For the thread that reads."""
        self._drain_to = drain_to
        self._waiting = set(drain_to)
        self.done.clear()

    def expect(self, partition: int) -> None:
        """A partition that must be safe before this process is done."""
        self._waiting.add(partition)

    def ends(self, partition: int, position: int) -> bool:
        """Whether the partition is not to be read further."""
        if self._drain_to is not None and position >= self._drain_to.get(partition, 0):
            return True
        return self._requested.is_set()

    def safe(self, partition: int) -> None:
        """The partition is committed up to its last batch."""
        self._waiting.discard(partition)
        if not self._waiting:
            self.done.set()


Floors = dict[str, int]


class Course(Protocol):
    """Is told when partitions begin to be read and when they are read no more. Methods raise HeadraceError."""

    def begin(self, partition: int, floor: int, gone: Floors) -> None:
        """A partition is gone on with from `floor`, which all destinations have reached; those `gone` are no more."""

    def stops(self, partition: int) -> None:
        """What was read of the partition is safe, and nothing more of it is read."""


class LogSource(FixedPartitionedSource[tuple[str, LogBatch], Floors]):
    """Reads `partitions` of a log. `names` maps stream ids to names; `windows` gives dedupe windows by stream id."""

    def __init__(
        self,
        log: Callable[[], Log],
        partitions: Sequence[int],
        progress: Progress,
        stop: Stop,
        windows: Mapping[str, int],
        names: Mapping[str, str],
        group: str,
        course: Course | None = None,
    ) -> None:
        """`course` is told what becomes of each partition."""
        self._log = log
        self._partitions = partitions
        self._progress = progress
        self._stop = stop
        self._windows = windows
        self._names = names
        self._group = group
        self._course = course
        self._published: dict[int, int] | None = None

    def list_parts(self) -> list[str]:
        return [part_name(partition) for partition in self._partitions]

    def build_part(self, step_id: str, for_part: str, resume_state: Floors | int | None) -> _Partition:
        partition = int(for_part)
        log = self._log()
        # Both are safe in every destination; the group's is there after a change of the number of processes too.
        if self._published is None:
            self._published = log.committed(self._group)
        floors = resumed(resume_state, self._progress.names, self._published.get(partition, 0))
        position = beginning(floors)
        if self._course is not None:
            state = resume_state if isinstance(resume_state, dict) else {}
            gone = {name: floor for name, floor in state.items() if name not in floors}
            self._course.begin(partition, min(floors.values(), default=position), gone)
        self._progress.begin(partition, floors, position)
        self._stop.expect(partition)
        main = Cursor(Reading(log, self._group, self._windows, self._names), partition, position)
        return _Partition(partition, main, self._progress, self._stop, self._course)


def part_name(partition: int) -> str:
    """Bytewax's name for a log partition: sorts as the number does."""
    return f"{partition:05d}"


def resumed(state: Floors | int | None, names: Sequence[str], published: int) -> Floors:
    """From where each of the destinations `names` is to be read for, given what was kept and what is `published`.

    One that is new begins with the one that is furthest back: no event is passed over that a state which is older than
    the destination cannot tell of. An integer is the state of a version that kept one floor for all.
    """
    if state is None:
        return dict.fromkeys(names, published)
    floors = dict.fromkeys(names, state) if isinstance(state, int) else state
    still = {name: max(at, published) for name, at in floors.items()}
    least = min((still[name] for name in names if name in still), default=published)
    return {name: still.get(name, least) for name in names}


def beginning(floors: Floors, *, near: int = NEAR) -> int:
    """Where reading for all begins: with the furthest destination, or with those that are only just behind it."""
    highest = max(floors.values(), default=0)
    return min((floor for floor in floors.values() if highest - floor <= near), default=0)


class _Partition(StatefulSourcePartition[tuple[str, LogBatch], Floors]):
    def __init__(self, partition: int, main: Cursor, progress: Progress, stop: Stop, course: Course | None) -> None:
        self._partition = partition
        self._course = course
        self._key = part_name(partition)
        self._main = main
        self._again: dict[str, Cursor] = {}  # of the destinations that are behind
        self._progress = progress
        self._stop = stop
        self._budget = EPOCH_BYTES
        self._awake: datetime | None = None
        self._retry_at = 0.0
        self._heartbeat = 0.0
        self._committed = progress.floor(partition, 0)
        self._tickets = 0
        self._mains_turn = True

    def next_batch(self) -> list[tuple[str, LogBatch]]:
        self._stop.started.set()
        self._progress.check()
        ended = self._stop.ends(self._partition, self._main.position)
        try:
            may_read = self._budget > 0 and time.monotonic() >= self._retry_at
            batch = self._read(ended=ended) if may_read else None
        except Transient as exc:
            _log.warning("the log cannot be read; trying again", partition=self._partition, reason=str(exc))
            self._retry_at = time.monotonic() + _RETRY
            batch = None
        if batch is None:
            self._awake = next_look()
            return self._finish() if ended else []
        self._awake = None
        self._budget -= batch.size
        return [(self._key, batch)]

    def _read(self, *, ended: bool) -> LogBatch | None:
        """A batch for all or for one that is behind, in turns where both can be had."""
        behind = [] if self._stop.requested else self._progress.behind(self._partition)
        self._let_go(behind)
        if self._mains_turn:
            batch = self._for_all(ended=ended) or self._for_one(behind)
        else:
            batch = self._for_one(behind) or self._for_all(ended=ended)
        if batch is not None:
            self._mains_turn = batch.only is not None
        return batch

    def _for_all(self, *, ended: bool) -> LogBatch | None:
        if ended or not self._progress.may_read(self._partition):
            return None
        batch = self._main.read()
        if batch is not None:
            self._progress.expect(batch.size)
        return batch

    def _for_one(self, behind: Sequence[Delivery]) -> LogBatch | None:
        """The next batch of one of those that are behind and have room, the one that has waited longest for its turn."""
        cursors = [(delivery, self._cursor_of(delivery)) for delivery in behind]
        for delivery, cursor in sorted(cursors, key=lambda pair: pair[1].ticket):
            if delivery.ticket(self._partition) < cursor.ticket or not delivery.has_room():
                continue  # what it is to have next is on its way, or has to wait
            cursor.move(delivery.wanted(self._partition))
            batch = cursor.read(ticket=self._tickets + 1)
            if batch is not None:
                self._tickets += 1
                delivery.expect(batch.size)
                return batch
        return None

    def _cursor_of(self, delivery: Delivery) -> Cursor:
        if delivery.name not in self._again:
            self._again[delivery.name] = self._main.another(delivery.wanted(self._partition), delivery.name)
        return self._again[delivery.name]

    def _let_go(self, behind: Sequence[Delivery]) -> None:
        """Those that have caught up need no cursor of their own."""
        for name in self._again.keys() - {delivery.name for delivery in behind}:
            self._again.pop(name).close()

    def _finish(self) -> list[tuple[str, LogBatch]]:
        """The end: of a stop once what was taken is safe, of a drain once every destination has all."""
        position = self._main.position
        if self._stop.requested:
            done = self._progress.holds_nothing(self._partition, position)
        else:
            done = self._progress.floor(self._partition, 0) >= position
        if done:
            if self._course is not None:
                self._course.stops(self._partition)
            self._publish()
            self._stop.safe(self._partition)
        if done or time.monotonic() - self._heartbeat < _HEARTBEAT:
            return []
        self._heartbeat = time.monotonic()
        return [(self._key, LogBatch(self._partition, position, flush=True, start=position))]

    def next_awake(self) -> datetime | None:
        return self._awake

    def snapshot(self) -> Floors:
        self._budget = EPOCH_BYTES
        self._publish()
        return self._progress.floors(self._partition, 0)

    def _publish(self) -> None:
        """Tells lag tools and retention how far all destinations are."""
        floor = self._progress.floor(self._partition, 0)
        if floor > self._committed:
            self._main.commit(floor)
            self._committed = floor

    def close(self) -> None:
        for cursor in (self._main, *self._again.values()):
            cursor.close()
