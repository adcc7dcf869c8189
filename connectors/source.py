"""The Bytewax source: partitions of the log, each read from where it is safe in every destination.

The state it hands to Bytewax's recovery is the *floor* (`connectors.sinks.base`), not the reading position: what the
destinations still hold uncommitted is read again after a crash, and they skip what they have.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.batch import LogBatch, batch_of
from connectors.dedupe import Dedupe
from connectors.errors import Transient
from connectors.log import Block, Log, Reader
from connectors.sinks.base import Progress
from connectors.telemetry import EVENTS_REPEATED

_log = structlog.get_logger()

BATCH_BYTES = 8 * 1024 * 1024
"""Values read in one go: some 30,000 events of 260 bytes."""

EPOCH_BYTES = 128 * 1024 * 1024
"""Values a partition hands on within one epoch: the engine's own queues have no bound."""

_IDLE = timedelta(milliseconds=20)
_HEARTBEAT = 0.1  # seconds between empty batches while a destination holds rows: without a batch it is never asked
_RETRY = timedelta(seconds=1)


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
        """Whether the end was asked for, and not only a drain."""
        return self._requested.is_set()

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


class LogSource(FixedPartitionedSource[tuple[str, LogBatch], int]):
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
    ) -> None:
        self._log = log
        self._partitions = partitions
        self._progress = progress
        self._stop = stop
        self._windows = windows
        self._names = names
        self._group = group
        self._published: dict[int, int] | None = None

    def list_parts(self) -> list[str]:
        return [part_name(partition) for partition in self._partitions]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _Partition:
        partition = int(for_part)
        log = self._log()
        # Both are safe in every destination; the group's is there after a change of the number of processes too.
        if self._published is None:
            self._published = log.committed(self._group)
        start = max(resume_state or 0, self._published.get(partition, 0))
        reader = log.reader([partition], {partition: start} if start else {}, group=self._group)
        self._stop.expect(partition)
        return _Partition(partition, start, log, reader, self._progress, self._stop, Dedupe(self._windows), self._names)


def part_name(partition: int) -> str:
    """Bytewax's name for a log partition: sorts as the number does."""
    return f"{partition:05d}"


class _Partition(StatefulSourcePartition[tuple[str, LogBatch], int]):
    def __init__(
        self,
        partition: int,
        start: int,
        log: Log,
        reader: Reader,
        progress: Progress,
        stop: Stop,
        dedupe: Dedupe,
        names: Mapping[str, str],
    ) -> None:
        self._partition = partition
        self._key = part_name(partition)
        self._start = self._position = start
        self._log = log
        self._reader = reader
        self._progress = progress
        self._stop = stop
        self._dedupe: Dedupe = dedupe
        self._recalled = False
        self._names = names
        self._budget = EPOCH_BYTES
        self._awake: datetime | None = None
        self._heartbeat = 0.0
        self._committed = start

    def next_batch(self) -> list[tuple[str, LogBatch]]:
        self._stop.started.set()
        if self._stop.ends(self._partition, self._position):
            return self._finish()
        if self._budget <= 0:
            return self._wait(_IDLE)
        try:
            block = self._reader.read(self._partition, max_bytes=BATCH_BYTES)
        except Transient as exc:
            _log.warning("the log cannot be read; trying again", partition=self._partition, reason=str(exc))
            return self._wait(_RETRY)
        if block is None or block.next_offset == self._position:
            return self._wait(_IDLE)
        self._awake = None
        self._position = block.next_offset
        self._budget -= sum(len(record.value) for record in block.records)
        return [(self._key, batch_of(self._without_repeats(block)))]

    def _finish(self) -> list[tuple[str, LogBatch]]:
        if self._floor() >= self._position:
            self._publish()
            self._stop.safe(self._partition)
            return self._wait(_IDLE)
        return self._beat(flush=True)

    def _wait(self, pause: timedelta) -> list[tuple[str, LogBatch]]:
        self._awake = datetime.now(UTC) + pause
        return self._beat(flush=False) if self._floor() < self._position else []

    def _beat(self, *, flush: bool) -> list[tuple[str, LogBatch]]:
        now = time.monotonic()
        if now - self._heartbeat < _HEARTBEAT:
            self._awake = datetime.now(UTC) + _IDLE
            return []
        self._heartbeat = now
        return [(self._key, LogBatch(self._partition, self._position, flush=flush))]

    def _without_repeats(self, block: Block) -> Block:
        if not any(record.keyed for record in block.records):
            return block
        if not self._recalled:
            self._recalled = True
            since = block.records[0].received_at - self._dedupe.longest
            self._dedupe.remember(
                self._log.keyed_requests(self._partition, since=since, before_offset=block.offsets[0])
            )
        kept = []
        for offset, record in zip(block.offsets, block.records, strict=True):
            if self._dedupe.is_repeat(record, offset):
                EVENTS_REPEATED.labels(self._names.get(record.stream, "unknown")).inc(record.count)
            else:
                kept.append((offset, record))
        return Block(block.partition, [o for o, _ in kept], [r for _, r in kept], block.next_offset)

    def next_awake(self) -> datetime | None:
        return self._awake

    def snapshot(self) -> int:
        self._budget = EPOCH_BYTES
        self._publish()
        return self._floor()

    def _publish(self) -> None:
        """Tells lag tools and retention how far the destinations are."""
        floor = self._floor()
        if floor > self._committed:
            self._reader.commit({self._partition: floor})
            self._committed = floor

    def _floor(self) -> int:
        return self._progress.floor(self._partition, self._start)

    def close(self) -> None:
        self._reader.close()
