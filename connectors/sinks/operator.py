"""The Bytewax sink that every destination is written through: fixed partitions, one a log partition.

Never a `DynamicSink`: Bytewax does not wait for one before it calls an epoch durable, and loses what it held. What is
durable is not for the engine to tell here: the source keeps as its state how far each destination has committed.
"""

from __future__ import annotations

from collections.abc import Sequence

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.sinks.base import Outcome
from connectors.sinks.delivery import Delivery
from connectors.source import part_name


class DestinationSink(FixedPartitionedSink[Outcome, None]):
    """Offers every outcome to a destination's `delivery`."""

    def __init__(self, delivery: Delivery, partitions: Sequence[int], count: int) -> None:
        self._delivery = delivery
        self._partitions = partitions
        self._count = count

    def list_parts(self) -> list[str]:
        return [part_name(partition) for partition in self._partitions]

    def part_fn(self, item_key: str) -> int:
        return int(item_key) % self._count

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Partition:
        return _Partition(self._delivery)


class _Partition(StatefulSinkPartition[Outcome, None]):
    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    def write_batch(self, items: list[Outcome]) -> None:
        for outcome in items:
            self._delivery.offer(outcome)

    def snapshot(self) -> None:
        return None
