"""Destinations that events are sent to: batching, order, retries, dead letters and the floor, once for all of them.

Rows of one log partition and stream are sent one request after the other, so their order is kept; several of those
lanes are under way at once, as many as the destination takes (`connectors.sinks.pace`). What fails is sent again for as
long as it takes, what is refused becomes a dead letter, and only then the floor passes it: at least once, and exactly
once where the destination knows an event by its `event_id`.

Threads of the writer's own do the sending, so a destination that is slow or down holds up nobody who calls it. What
waits is bounded by whoever hands it over: it asks `room` first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from connectors.errors import ConfigError, Rejected, Transient
from connectors.logger import get_logger
from connectors.sinks.base import Rows
from connectors.sinks.batching import Batching
from connectors.sinks.connection import Connection, Endpoint, Refusal, Unfinished
from connectors.sinks.delivery import Circuit
from connectors.sinks.lane import Lane, Refused
from connectors.sinks.overlap import without_places
from connectors.sinks.pace import Pace, jittered
from connectors.telemetry import (
    DESTINATION_CIRCUIT,
    REQUEST_SECONDS,
    REQUESTS,
    REQUESTS_RETRIED,
    ROWS_COMMITTED,
    ROWS_REFUSED,
)

_log = get_logger()

_IDLE = 30.0  # seconds after which a thread that has nothing to send closes its connection

_LOOK = 0.05  # seconds between the looks at whether what is under way has ended

_REFUSED_PAUSE = 5.0  # seconds between tries where the destination refuses us, as opposed to what we send


class Undeliverable(Protocol):
    """Keeps what a destination refuses (`connectors.sinks.refusals`)."""

    def keep(self, partition: int, stream: str, refused: Sequence[Refused], next_offset: int) -> None:
        """Makes the rows safe, each once, whatever is repeated after a crash; called by one thread at a time.

        All that was refused of the partition and stream below `next_offset` has then been handed over. Raises
        Transient, Fenced.
        """


class PushWriter:
    """The lanes of one destination, within one process (implements `Writer`)."""

    def __init__(
        self, endpoint: Endpoint, name: str, undeliverable: Undeliverable, batching: Batching | None = None
    ) -> None:
        self._endpoint = endpoint
        self._name = name
        self._undeliverable = undeliverable
        self._keeping = threading.Lock()
        batching = batching or Batching()
        self._batching = batching
        self._most_rows = min(batching.rows, endpoint.max_rows)
        self._most_bytes = min(batching.size, endpoint.max_bytes)
        self._linger = batching.linger.total_seconds()
        self._pace = Pace(batching.concurrency)
        self._news = threading.Condition()
        self._lanes: dict[int, dict[str, Lane]] = {}
        self._handed_over: dict[int, int] = {}
        self._flush = False
        self._closed = False
        self._threads = self._idle = self._busy = 0
        self._trouble: str | None = None
        self._bug: BaseException | None = None

    def stage(self, partition: int, rows: Sequence[Rows], next_offset: int) -> None:
        """See `Writer.stage`. Returns at once."""
        self._raise_bug()
        now = time.monotonic()
        with self._news:
            lanes = self._lanes.setdefault(partition, {})
            for part in rows:
                if part.table.num_rows:
                    if part.stream not in lanes:
                        lanes[part.stream] = Lane(partition, part.stream)
                    lanes[part.stream].add(without_places(part.table), now)
            self._handed_over[partition] = next_offset
            if rows:
                self._flush = False
                self._wake()

    def commit(self, *, everything: bool) -> None:
        """See `Writer.commit`. Returns at once; with `everything` nothing that is held now waits for company."""
        self._raise_bug()
        if everything:
            with self._news:
                self._flush = any(lane.rows for lanes in self._lanes.values() for lane in lanes.values())
                self._wake()

    def reset(self) -> None:
        """See `Writer.reset`. Waits for the requests that are under way; nothing that is sent makes it necessary."""
        with self._news:
            self._lanes.clear()
            while self._busy:
                self._news.wait(_LOOK)
            self._handed_over.clear()

    def floor(self, partition: int) -> int | None:
        """See `Writer.floor`."""
        self._raise_bug()
        with self._news:
            held = [first for lane in self._lanes.get(partition, {}).values() if (first := lane.first()) is not None]
            return min(held) if held else self._handed_over.get(partition)

    @property
    def capacity(self) -> int:
        """How many bytes, as Arrow counts, this writer should be given to hold."""
        return self._batching.capacity

    @property
    def held_bytes(self) -> int:
        """How many bytes it holds."""
        with self._news:
            return sum(lane.bytes for lanes in self._lanes.values() for lane in lanes.values())

    def room(self) -> bool:
        """Whether more should be handed over now."""
        return self.held_bytes < self.capacity

    @property
    def trouble(self) -> str | None:
        """Why the destination does not take what it is sent; None while it does."""
        return self._trouble

    def close(self) -> None:
        """Ends the threads and their connections after what they are doing; what is held is not sent."""
        with self._news:
            self._closed = True
            self._news.notify_all()
            self._news.wait_for(lambda: self._threads == 0)

    def _raise_bug(self) -> None:
        if self._bug is not None:
            raise self._bug

    def _wake(self) -> None:
        """Has a thread look at the lanes; one more where all are at work and there may be more of them."""
        if self._idle:
            self._news.notify()
        elif self._threads < self._pace.limit and not self._closed:
            self._threads += 1
            threading.Thread(target=self._work, name=f"to {self._name}", daemon=True).start()

    def _work(self) -> None:
        sender = _Sender(self._endpoint, self._name)
        try:
            while (lane := self._next()) is not None:
                try:
                    self._serve(lane, sender)
                finally:
                    with self._news:
                        lane.busy = False
                        self._busy -= 1
                        self._let_go(lane)
                        self._wake()
        except BaseException as exc:  # noqa: BLE001 -- a bug: raised where the dataflow calls, which ends the process
            self._bug = exc
        finally:
            sender.close()
            with self._news:
                self._threads -= 1
                self._news.notify_all()

    def _next(self) -> Lane | None:
        """A lane that has something to do, now this thread's; None after a while without one."""
        end = time.monotonic() + _IDLE
        with self._news:
            while not self._closed:
                now = time.monotonic()
                lane, when = self._ready(now)
                if lane is not None and when <= now:
                    lane.busy = True
                    self._busy += 1
                    self._wake()
                    return lane
                if now >= end and lane is None:
                    return None
                self._idle += 1
                self._news.wait(max(min(when, end) - now, 0.001))
                self._idle -= 1
        return None

    def _let_go(self, lane: Lane) -> None:
        """Forgets a lane that holds nothing: each look goes over all there are."""
        lanes = self._lanes.get(lane.partition, {})
        if lane.first() is None and lanes.get(lane.stream) is lane:
            del lanes[lane.stream]

    def _ready(self, now: float) -> tuple[Lane | None, float]:
        """The lane that is due first, and when; none while enough requests are under way."""
        found, when = None, float("inf")
        if self._busy >= self._pace.limit:
            return None, when
        for lanes in self._lanes.values():
            for lane in lanes.values():
                due = lane.due(now, self._linger, self._most_rows, self._most_bytes, flush=self._flush)
                if due is not None and due < when:
                    found, when = lane, due
        return found, max(when, self._pace.not_before)

    def _serve(self, lane: Lane, sender: _Sender) -> None:
        """Sends a batch of the lane, and keeps what was refused of it."""
        try:
            self._keep_refused(lane)  # what is left of a failure to do so
            with self._news:
                batch = lane.batch(self._most_rows, self._most_bytes)
            if batch is not None:
                self._send(lane, batch, sender)
                self._keep_refused(lane)
        except Transient as exc:
            self._failed(lane, exc)

    def _send(self, lane: Lane, batch: pa.Table, sender: _Sender) -> None:
        began = time.monotonic()
        outcome = "ok"
        refusals: Sequence[Refusal] = ()
        left: Sequence[int] = ()
        failure: Transient | None = None
        try:
            refusals = sender.send(lane.stream, batch)
        except Rejected as exc:
            outcome, refusals = "rejected", [Refusal(row, exc.what) for row in range(batch.num_rows)]
        except Unfinished as exc:
            outcome, refusals, left, failure = "unfinished", exc.refusals, exc.left, exc
        except Transient as exc:
            outcome, left, failure = "failed", range(batch.num_rows), exc
        now = time.monotonic()
        REQUESTS.labels(self._name, outcome).inc()
        REQUEST_SECONDS.labels(self._name).observe(now - began)
        ROWS_COMMITTED.labels(self._name, lane.stream).inc(batch.num_rows - len(left) - len(refusals))
        ROWS_REFUSED.labels(self._name, lane.stream).inc(len(refusals))
        with self._news:
            if outcome != "failed":
                lane.acknowledge(refusals, left)
            if failure is None:
                self._pace.succeeded(now - began, now)
                lane.attempts = 0
                self._well()
            else:
                self._pace.failed(now - began, now, failure.retry_after)
        if failure is not None:
            raise failure

    def _keep_refused(self, lane: Lane) -> None:
        with self._news:
            end = lane.finished(self._handed_over[lane.partition])
            letters = lane.letters(end)
        if not letters:
            return
        with self._keeping:
            self._undeliverable.keep(lane.partition, lane.stream, letters, end)
        with self._news:
            lane.settled(end)

    def _failed(self, lane: Lane, exc: Transient) -> None:
        REQUESTS_RETRIED.labels(self._name).inc()
        DESTINATION_CIRCUIT.labels(self._name).set(Circuit.OPEN if self._pace.is_open else Circuit.HALF_OPEN)
        with self._news:
            lane.attempts += 1
            lane.not_before = time.monotonic() + jittered(lane.attempts, self._pace.chance)
            if self._trouble is None:
                _log.warning(
                    "a destination does not take events; trying again", destination=self._name, reason=str(exc)
                )
            self._trouble = str(exc)

    def _well(self) -> None:
        DESTINATION_CIRCUIT.labels(self._name).set(Circuit.CLOSED)
        if self._trouble is not None:
            _log.info("a destination takes events again", destination=self._name)
        self._trouble = None


class _Sender:
    """One thread's connection, made when it is needed, and anew after a failure."""

    def __init__(self, endpoint: Endpoint, name: str) -> None:
        self._endpoint = endpoint
        self._name = name
        self._connection: Connection | None = None

    def send(self, stream: str, rows: pa.Table) -> Sequence[Refusal]:
        """See `Connection.send`. What only a person can mend is a failure like any other: the rest goes on meanwhile."""
        try:
            if self._connection is None:
                self._connection = self._endpoint.connect()
            return self._connection.send(stream, rows)
        except ConfigError as exc:
            self.close()
            raise Transient(exc.what, remedy=exc.remedy, retry_after=_REFUSED_PAUSE) from exc
        except Unfinished:
            raise
        except Transient:
            self.close()
            raise

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except (Transient, OSError):
                _log.debug("a connection could not be closed in good order", destination=self._name)
