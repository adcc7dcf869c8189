"""Where the log's partitions lie in Kafka: all in one topic, or in a topic a stream.

The log's partitions are numbered from 0, whatever topics they are in, and a number never gets another meaning: tables
keep their offsets by it. With a topic a stream the numbers are written down in a topic of their own, in the order in
which the partitions were first seen, so that every process of every host reads the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaTimeoutError

from connectors.log.kafka.clients import (
    CONNECT_SECONDS,
    create_topic,
    described_topics,
    new_admin,
    new_consumer,
    new_producer,
)
from connectors.log.settings import KafkaLogSettings, KafkaTopicsSettings

_REGISTRY = "_partitions"  # in the place of a stream's name, which never begins like that
_ASK_SECONDS = 10.0


class Places(msgspec.Struct, frozen=True):
    """`parts[n]` is where partition n lies, None where its topic is gone; `numbers` has each topic's, in its own order."""

    identity: str
    parts: tuple[TopicPartition | None, ...]
    numbers: Mapping[str, tuple[int, ...]]

    def known(self, partitions: Iterable[int]) -> dict[int, TopicPartition]:
        """Those of the partitions whose topic is there."""
        found = {number: self.parts[number] for number in partitions if number < len(self.parts)}
        return {number: part for number, part in found.items() if part is not None}


class _Seen(msgspec.Struct, frozen=True):
    """An entry of the registry: the topic of this name and id had so many partitions."""

    topic: str
    id: str
    partitions: int


def find_places(settings: KafkaLogSettings) -> Places:
    """The places as they are now; topics that are missing are made. Raises KafkaError, OSError."""
    admin = new_admin(settings)
    try:
        if isinstance(settings, KafkaTopicsSettings):
            return _of_streams(admin, settings)
        topic = _made(admin, settings, [settings.topic])[settings.topic]
        numbers = tuple(range(len(topic["partitions"])))
        parts = tuple(TopicPartition(settings.topic, number) for number in numbers)
        return Places(f"kafka-{topic['topic_id']}", parts, {settings.topic: numbers})
    finally:
        admin.close()


def _of_streams(admin: KafkaAdminClient, settings: KafkaTopicsSettings) -> Places:
    registry = settings.topic.replace("{stream}", _REGISTRY)
    own = msgspec.structs.replace(settings, partitions=1)
    identity = _made(admin, own, [registry], {"retention.ms": "-1", "retention.bytes": "-1"})[registry]["topic_id"]
    topics = _made(admin, settings, list(settings.topics.values()))
    seen = _read(settings, registry)
    here = [_Seen(name, str(topic["topic_id"]), len(topic["partitions"])) for name, topic in topics.items()]
    held = _counts(seen)
    new = [one for one in here if held.get(one.id, 0) < one.partitions]
    if new:  # another process may write the same at once: what was there already counts for nothing
        _write(settings, registry, new)
        seen = _read(settings, registry)
    others = described_topics(admin, {one.topic for one in seen} - topics.keys())
    return _numbered(f"kafka-{identity}", seen, {**topics, **others})


def _made(
    admin: KafkaAdminClient, settings: KafkaLogSettings, names: list[str], configs: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """The topics, made where they are missing: by us, or by another process at the same moment."""
    found = described_topics(admin, names)
    deadline = time.monotonic() + CONNECT_SECONDS
    while missing := [name for name in names if name not in found]:
        for name in missing:
            create_topic(admin, settings, name, configs or {})
        found |= described_topics(admin, missing)
        if time.monotonic() > deadline and found.keys() < set(names):
            raise KafkaTimeoutError(f"topic {missing[0]} was created and is not there yet")
    return found


def _counts(seen: Iterable[_Seen]) -> dict[str, int]:
    held: dict[str, int] = {}
    for one in seen:
        held[one.id] = max(held.get(one.id, 0), one.partitions)
    return held


def _numbered(identity: str, seen: Iterable[_Seen], topics: Mapping[str, dict[str, Any]]) -> Places:
    """Each entry gives numbers to those of its topic's partitions that had none."""
    parts: list[TopicPartition | None] = []
    numbers: dict[str, list[int]] = {}
    held: dict[str, int] = {}
    for one in seen:
        is_there = one.topic in topics and str(topics[one.topic]["topic_id"]) == one.id
        for partition in range(held.get(one.id, 0), one.partitions):
            if is_there:
                numbers.setdefault(one.topic, []).append(len(parts))
            parts.append(TopicPartition(one.topic, partition) if is_there else None)
        held[one.id] = max(held.get(one.id, 0), one.partitions)
    return Places(identity, tuple(parts), {topic: tuple(own) for topic, own in numbers.items()})


def _read(settings: KafkaLogSettings, registry: str) -> list[_Seen]:
    part = TopicPartition(registry, 0)
    consumer = new_consumer(settings, max_poll_records=10_000)
    try:
        consumer.assign([part])
        [begin] = consumer.beginning_offsets([part], timeout_ms=_ASK_SECONDS * 1000).values()
        [end] = consumer.end_offsets([part], timeout_ms=_ASK_SECONDS * 1000).values()
        consumer.seek(part, begin)
        return _entries(consumer, part, end)
    finally:
        consumer.close(autocommit=False, timeout_ms=1000)


def _entries(consumer: KafkaConsumer, part: TopicPartition, end: int) -> list[_Seen]:
    found: list[_Seen] = []
    deadline = time.monotonic() + _ASK_SECONDS
    while (consumer.position(part, timeout_ms=1000) or 0) < end:
        if time.monotonic() > deadline:
            raise KafkaTimeoutError(f"reading topic {part.topic} made no progress")
        for raw in consumer.poll(timeout_ms=200).get(part, ()):
            found.append(msgspec.json.decode(raw.value, type=_Seen))
    return found


def _write(settings: KafkaLogSettings, registry: str, entries: Iterable[_Seen]) -> None:
    producer = new_producer(settings)
    try:
        futures = [producer.send(registry, msgspec.json.encode(one), partition=0) for one in entries]
        for future in futures:
            future.get(timeout=settings.ack_timeout)
    finally:
        producer.close(timeout=settings.ack_timeout)
