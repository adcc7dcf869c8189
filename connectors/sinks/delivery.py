"""The front of one destination: nobody who hands rows over ever waits for it.

A thread of the destination's own takes rows from a bounded inbox and calls the blocking `Writer`. What the inbox has no
room for, and whatever comes while the destination fails, is refused; the log is the buffer. `wanted` says where to read
again for this destination alone: offers that begin past it are passed over, what it has already is cut off. So an offer
can come from whoever has read that far, in any order, and each row is taken once.

After a failure all that is not committed is forgotten and `wanted` goes back to the floor, as after a crash; then the
destination is left alone for a while (exponential backoff with full jitter, as in "Exponential Backoff And Jitter" of
the AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import enum
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
import pyarrow.compute as pc

from connectors.errors import Transient
from connectors.logger import get_logger
from connectors.record import now_microseconds
from connectors.sinks.base import Outcome, Rows, Writer
from connectors.telemetry import (
    COMMIT_LATENCY,
    DESTINATION_BEHIND,
    DESTINATION_CIRCUIT,
    DESTINATION_FAILURES,
    DESTINATION_HELD,
    DESTINATION_UNCOMMITTED,
)

_log = get_logger()

INBOX_BYTES = 64 * 1024 * 1024
"""What waits for a destination's thread, as Arrow counts; as much again as its writer's `capacity` is with the writer."""

_ITEM_BYTES = 1024  # what an item counts beside its rows: an inbox of empty ones has an end too
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 15.0  # seconds, before the jitter
_TICK = 0.05  # seconds between the looks at whether a commit is due


class Circuit(enum.IntEnum):
    """Whether a destination is sent anything: always, as a trial, or not at present."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class _Item(msgspec.Struct, frozen=True, gc=False):
    partition: int
    rows: Sequence[Rows]
    next_offset: int
    size: int


class Delivery:
    """One destination within one process. Any thread may call it; nothing but `offer` of what cannot be read again waits.

    `carries` tells a destination that events are sent to from one that only takes what goes wrong.
    """

    def __init__(
        self,
        name: str,
        writer: Writer,
        *,
        carries: bool = True,
        capacity: int = INBOX_BYTES,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.carries = carries
        self._writer = writer
        self._capacity = capacity
        self._clock = clock
        self._chance = chance
        self._news = threading.Condition()
        self._inbox: deque[_Item] = deque()
        self._held = 0  # bytes in the inbox, and of the item that is being staged
        self._expected = 0  # bytes of the log that are on their way here
        self._full_since: float | None = None
        self._wanted: dict[int, int] = {}
        self._floors: dict[int, int] = {}
        self._reached: dict[int, int] = {}
        self._begun: set[int] = set()
        self._tickets: dict[int, int] = {}
        self._received: dict[int, deque[tuple[int, int]]] = {}  # by partition: (next offset, when the first came)
        self._flush = False
        self._circuit = Circuit.CLOSED
        self._failures = 0
        self._retry_at = 0.0
        self._trial: tuple[int, int] | None = None
        self._broken: BaseException | None = None
        self._thread: threading.Thread | None = None
        DESTINATION_CIRCUIT.labels(name).set(self._circuit)
        DESTINATION_FAILURES.labels(name)  # it is there, with 0, before the first

    def begin(self, partition: int, wanted: int, reached: int) -> None:
        """The destination has what is below `wanted` of the partition, whose reading begins at `reached`."""
        with self._news:
            self._wanted[partition] = self._floors[partition] = wanted
            self._reached[partition] = reached
            self._begun.add(partition)

    def expect(self, size: int) -> None:
        """An outcome of `size` bytes of the log is on its way to `offer`."""
        with self._news:
            self._expected += size

    def offer(self, outcome: Outcome) -> None:
        """Takes its rows of the outcome where it wants them and has room; `wanted` tells whether it did.

        An outcome without a `start` is always taken; the caller waits for the room. Raises what `check` raises.
        """
        with self._news:
            partition = outcome.partition
            if outcome.only is None:
                self._expected -= outcome.size
                self._reached[partition] = max(outcome.next_offset, self._reached.get(partition, 0))
            elif outcome.only == self.name:
                self._expected -= outcome.size
                self._tickets[partition] = outcome.ticket
            else:
                return
            if outcome.flush:
                self._flush = True
                self._wake()
            start = self._wanted.get(partition, 0) if outcome.start is None else outcome.start
            wanted = self._wanted.setdefault(partition, start)
            self._floors.setdefault(partition, wanted)
            if start > wanted or outcome.next_offset <= wanted:
                return
            rows = _from(wanted, outcome.rows.get(self.name, ())) if start < wanted else outcome.rows.get(self.name, ())
            item = _Item(partition, rows, outcome.next_offset, _ITEM_BYTES + sum(part.table.nbytes for part in rows))
            if outcome.start is None:
                self._news.wait_for(lambda: self._takes(item) or self._broken is not None)
                self.check()
            if self._takes(item):
                self._inbox.append(item)
                self._wanted[partition] = outcome.next_offset
                first = _first_received(rows)
                if first is not None:
                    self._received.setdefault(partition, deque()).append((outcome.next_offset, first))
                self._hold(item.size)
                self._wake()
            self._measure()

    def has_room(self) -> bool:
        """Whether something should be read for it. Half of the inbox is kept for what is on its way."""
        with self._news:
            waiting = self._held + self._expected
            room = self._circuit is not Circuit.OPEN and (waiting < self._capacity // 2 or waiting <= 0)
            if room:
                self._full_since = None
            elif self._full_since is None:
                self._full_since = self._clock()
            return room

    def without_room_for(self) -> float:
        """For how many seconds `has_room` has been asked in vain; without end while the destination fails."""
        with self._news:
            if self._circuit is Circuit.OPEN:
                return float("inf")
            return 0.0 if self._full_since is None else self._clock() - self._full_since

    def is_behind(self, partition: int) -> bool:
        """Whether something was offered to all, or lies below where reading began, that it has not taken."""
        with self._news:
            return partition in self._wanted and self._wanted[partition] < self._reached.get(partition, 0)

    def wanted(self, partition: int) -> int:
        """The offset of the partition from which on it wants what is read."""
        with self._news:
            return self._wanted[partition]

    def ticket(self, partition: int) -> int:
        """The ticket of the last outcome of the partition that was offered to it alone; 0 before the first."""
        with self._news:
            return self._tickets.get(partition, 0)

    def floor(self, partition: int) -> int | None:
        """The lowest offset of the partition that is not safe yet; None before anything of it was offered."""
        with self._news:
            return self._floors.get(partition)

    def holds_nothing(self, partition: int, position: int) -> bool:
        """Whether all that was offered up to `position` has arrived, and what it took of that is safe."""
        with self._news:
            taken = self._wanted.get(partition, 0)
            return self._reached.get(partition, 0) >= position and self._floors.get(partition, 0) >= taken

    def check(self) -> None:
        """Raises what ended the destination's thread: Fenced, ConfigError or a bug, on which the process has to end."""
        if self._broken is not None:
            raise self._broken

    def _wake(self) -> None:
        """Holding the lock: has the thread look, and starts it where there is none yet."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"to {self.name}", daemon=True)
            self._thread.start()
        self._news.notify_all()

    def _takes(self, item: _Item) -> bool:
        return self._circuit is not Circuit.OPEN and (not self._held or self._held + item.size <= self._capacity)

    def _hold(self, size: int) -> None:
        self._held += size
        DESTINATION_HELD.labels(self.name).set(self._held + self._writer.held_bytes)

    def _measure(self) -> None:
        behind = sum(max(0, reached - self._wanted.get(at, 0)) for at, reached in self._reached.items())
        DESTINATION_BEHIND.labels(self.name).set(behind)
        uncommitted = sum(max(0, reached - self._floors.get(at, reached)) for at, reached in self._reached.items())
        DESTINATION_UNCOMMITTED.labels(self.name).set(uncommitted)

    def _run(self) -> None:
        try:
            while True:
                item, flush = self._next()
                try:
                    if item is not None:
                        self._writer.stage(item.partition, item.rows, item.next_offset)
                    self._writer.commit(everything=flush)
                    self._settle(item)
                except Transient as exc:
                    self._fail(exc)
        except BaseException as exc:  # noqa: BLE001 -- raised in the engine's thread, by `check`
            with self._news:
                self._broken = exc
                self._news.notify_all()

    def _next(self) -> tuple[_Item | None, bool]:
        """(what to stage, whether to commit everything), once there is something to do."""
        with self._news:
            while self._circuit is Circuit.OPEN:
                left = self._retry_at - self._clock()
                if left <= 0:
                    self._turn(Circuit.HALF_OPEN)
                else:
                    self._news.wait(left)
            if not self._inbox and not self._flush:
                holding = any(self._floors[partition] < wanted for partition, wanted in self._wanted.items())
                self._news.wait(_TICK if holding else None)
            feeding = bool(self._inbox) and self._writer.held_bytes < self._writer.capacity
            if self._inbox and not feeding:
                self._news.wait(_TICK)
            item = self._inbox.popleft() if feeding else None
            flush = self._flush and not self._inbox
            self._flush = self._flush and not flush
            return item, flush

    def _settle(self, item: _Item | None) -> None:
        """What was staged is the writer's now, and what it has committed is known."""
        with self._news:
            if item is not None and self._circuit is Circuit.HALF_OPEN and self._trial is None and item.rows:
                self._trial = (item.partition, item.next_offset)
            for partition in self._wanted:
                floor = self._writer.floor(partition)
                if floor is not None and floor > self._floors[partition]:
                    self._floors[partition] = floor
                    self._time(partition, floor)
            if self._trial is not None and self._floors[self._trial[0]] >= self._trial[1]:
                self._trial, self._failures = None, 0
                self._turn(Circuit.CLOSED)
                _log.info("a destination takes events again", destination=self.name)
            self._hold(0 if item is None else -item.size)
            self._measure()
            self._news.notify_all()

    def _time(self, partition: int, floor: int) -> None:
        """How long what is committed now took to get here."""
        waiting = self._received.get(partition, deque())
        while waiting and waiting[0][0] <= floor:
            COMMIT_LATENCY.labels(self.name).observe(max(0, now_microseconds() - waiting.popleft()[1]) / 1e6)

    def _fail(self, exc: Transient) -> None:
        """Back to what is committed, and a pause. What cannot be read again is for a new process to find."""
        DESTINATION_FAILURES.labels(self.name).inc()
        self._writer.reset()
        with self._news:
            if not self._failures:
                _log.warning(
                    "the dataflow goes on without a destination; its events wait in the log",
                    destination=self.name,
                    reason=str(exc),
                )
            if any(
                partition not in self._begun and self._floors[partition] < at for partition, at in self._wanted.items()
            ):
                raise exc
            self._inbox.clear()
            self._received.clear()
            self._wanted.update(self._floors)
            self._hold(-self._held)
            self._trial = None
            self._failures += 1
            most = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self._failures, 16))
            self._retry_at = self._clock() + max(exc.retry_after or 0.0, self._chance() * most)
            self._turn(Circuit.OPEN)
            self._measure()

    def _turn(self, circuit: Circuit) -> None:
        self._circuit = circuit
        DESTINATION_CIRCUIT.labels(self.name).set(circuit)
        self._news.notify_all()


def _from(offset: int, rows: Sequence[Rows]) -> Sequence[Rows]:
    """The rows of records at `offset` or past it."""
    kept = [Rows(part.stream, part.table.filter(pc.greater_equal(part.table["_offset"], offset))) for part in rows]
    return [part for part in kept if part.table.num_rows]


def _first_received(rows: Sequence[Rows]) -> int | None:
    """When the first event was received, in microseconds; None where the rows are not events."""
    firsts = [
        part.table["received_at"][0]
        for part in rows
        if part.table.num_rows and "received_at" in part.table.schema.names
    ]
    return min((moment.value for moment in firsts if moment.is_valid), default=None)
