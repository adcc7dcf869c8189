"""The Bytewax sink that every destination is written through: fixed partitions, one a log partition.

Never a `DynamicSink`: Bytewax does not wait for one before it calls an epoch durable, and loses what it held. Commits
happen between batches, when they are due; a destination that holds rows is asked again by the source's heartbeats.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.sinks.base import Outcome, Writer
from connectors.source import part_name


class DestinationSink(FixedPartitionedSink[Outcome, None]):
    """Hands the rows for `destination` to its writer. `lock` makes worker threads of one process take turns."""

    def __init__(self, destination: str, writer: Writer, partitions: Sequence[int], count: int) -> None:
        self._destination = destination
        self._writer = writer
        self._partitions = partitions
        self._count = count
        self._lock = threading.Lock()

    def list_parts(self) -> list[str]:
        return [part_name(partition) for partition in self._partitions]

    def part_fn(self, item_key: str) -> int:
        return int(item_key) % self._count

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Partition:
        return _Partition(self._destination, self._writer, self._lock)


class _Partition(StatefulSinkPartition[Outcome, None]):
    def __init__(self, destination: str, writer: Writer, lock: threading.Lock) -> None:
        self._destination = destination
        self._writer = writer
        self._lock = lock

    def write_batch(self, items: list[Outcome]) -> None:
        with self._lock:
            for outcome in items:
                rows = outcome.rows.get(self._destination, ())
                self._writer.stage(outcome.partition, rows, outcome.next_offset)
            self._writer.commit(everything=any(outcome.flush for outcome in items))

    def snapshot(self) -> None:
        return None
