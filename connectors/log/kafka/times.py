"""Where in a Kafka topic a time lies: the gateway's clock is the record's timestamp, and the broker has an index of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka import TopicPartition

from connectors.log.kafka.clients import failures_named, new_consumer
from connectors.log.settings import KafkaLogSettings

_ASK_SECONDS = 10.0


def bounds(settings: KafkaLogSettings, partitions: int) -> dict[int, tuple[int, int]]:
    """As `Log.bounds`."""
    with _asking(settings, partitions, "asking where the log begins and ends") as (consumer, parts):
        first = consumer.beginning_offsets(parts, timeout_ms=_ASK_SECONDS * 1000)
        ends = consumer.end_offsets(parts, timeout_ms=_ASK_SECONDS * 1000)
    return {part.partition: (first[part], ends[part]) for part in parts}


def offsets_at(settings: KafkaLogSettings, partitions: int, instant: int) -> dict[int, int]:
    """As `Log.offsets_at`."""
    with _asking(settings, partitions, "asking where a time lies in the log") as (consumer, parts):
        ends = consumer.end_offsets(parts, timeout_ms=_ASK_SECONDS * 1000)
        wanted = dict.fromkeys(parts, max(0, instant // 1000))
        found = consumer.offsets_for_times(wanted, timeout_ms=_ASK_SECONDS * 1000)
    return {part.partition: ends[part] if found.get(part) is None else found[part].offset for part in parts}


@contextmanager
def _asking(settings: KafkaLogSettings, partitions: int, doing: str) -> Iterator[tuple[Any, list[TopicPartition]]]:
    with failures_named(settings, doing):
        consumer = new_consumer(settings)
        try:
            yield consumer, [TopicPartition(settings.topic, partition) for partition in range(partitions)]
        finally:
            consumer.close(autocommit=False, timeout_ms=1000)
