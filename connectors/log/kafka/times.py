"""Where in a Kafka topic a time lies: the gateway's clock is the record's timestamp, and the broker has an index of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kafka import TopicPartition

from connectors.log.kafka.clients import failures_named, new_consumer
from connectors.log.settings import KafkaLogSettings

_ASK_SECONDS = 10.0


def bounds(settings: KafkaLogSettings, parts: Mapping[int, TopicPartition]) -> dict[int, tuple[int, int]]:
    """As `Log.bounds`, of those partitions that are there."""
    with _asking(settings, "asking where the log begins and ends") as consumer:
        first = consumer.beginning_offsets(list(parts.values()), timeout_ms=_ASK_SECONDS * 1000)
        ends = consumer.end_offsets(list(parts.values()), timeout_ms=_ASK_SECONDS * 1000)
    return {number: (first[part], ends[part]) for number, part in parts.items()}


def offsets_at(settings: KafkaLogSettings, parts: Mapping[int, TopicPartition], instant: int) -> dict[int, int]:
    """As `Log.offsets_at`, of those partitions that are there."""
    with _asking(settings, "asking where a time lies in the log") as consumer:
        ends = consumer.end_offsets(list(parts.values()), timeout_ms=_ASK_SECONDS * 1000)
        wanted = dict.fromkeys(parts.values(), max(0, instant // 1000))
        found = consumer.offsets_for_times(wanted, timeout_ms=_ASK_SECONDS * 1000)
    return {number: ends[p] if found.get(p) is None else found[p].offset for number, p in parts.items()}


@contextmanager
def _asking(settings: KafkaLogSettings, doing: str) -> Iterator[Any]:
    with failures_named(settings, doing):
        consumer = new_consumer(settings)
        try:
            yield consumer
        finally:
            consumer.close(autocommit=False, timeout_ms=1000)
