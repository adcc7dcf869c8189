"""The Kafka log: one topic, or a topic a stream; one idempotent producer a process, `acks=all`.

An append returns when all in-sync replicas have the record. One that is not acknowledged within `ack_timeout` is
refused, though it may still arrive: the sender repeats it, and its Idempotency-Key makes the repeat harmless. Keyed
requests are placed by the number of partitions that a process found when it connected: grow a topic while no keyed
request is being repeated.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, RetriableError

from connectors.abandoning import abandon
from connectors.errors import Unavailable
from connectors.log import Position
from connectors.log.kafka import times
from connectors.log.kafka.clients import (
    CONNECT_SECONDS,
    batching,
    described_topics,
    failures_named,
    new_admin,
    new_consumer,
    new_producer,
    refuse_bad_options,
    unavailable,
)
from connectors.log.kafka.places import Places, find_places
from connectors.log.kafka.reader import KafkaReader, group_name, keyed_requests
from connectors.log.placement import Turns, keyed_partition, packed
from connectors.log.settings import KafkaLogSettings, KafkaTopicsSettings, LogSettings
from connectors.logger import get_logger
from connectors.record import Record

__all__ = ["KafkaLog", "KafkaLogSettings"]

_log = get_logger()

_OVERHEAD = 512  # bytes of headers and bookkeeping a record, roughly
_CHECK_SECONDS = 1.0  # an acknowledgement this recent is proof enough that the log can be written
_RETRY_SECONDS = 1.0  # how long a failed connection stands for the appends that come next


class KafkaLog:
    """`Log` over Kafka topics. It connects when it is first used, and again when the brokers come back."""

    def __init__(self, settings: KafkaLogSettings) -> None:
        """ConfigError for options that cannot be; brokers that are down are no error yet."""
        refuse_bad_options(settings)
        self._settings = settings
        self._process = os.getpid()
        self._connecting = threading.Lock()
        self._producer: KafkaProducer | None = None
        self._places: Places | None = None
        self._refused: tuple[float, Unavailable] | None = None
        self._counting = threading.Lock()
        self._in_flight = 0
        self._turns = Turns(*batching(settings))
        self._acknowledged_at = float("-inf")
        self._silent_since: float | None = None

    @property
    def partitions(self) -> int:
        return len(self._described().parts)

    @property
    def identity(self) -> str:
        return self._described().identity

    def partitions_of(self, stream: str) -> Sequence[int]:
        places = self._described()
        if isinstance(self._settings, KafkaTopicsSettings):
            return places.numbers.get(self._settings.topics.get(stream, ""), ())
        return range(len(places.parts))

    def place(self, partition: int) -> tuple[str, int]:
        part = self._described().known([partition]).get(partition)
        return (self._settings.topic, partition) if part is None else (part.topic, part.partition)

    def take(self, settings: LogSettings) -> None:
        if isinstance(settings, KafkaTopicsSettings) and settings != self._settings:
            with self._connecting:
                self._settings, self._places = settings, None

    def append(self, record: Record) -> Position:
        if os.getpid() != self._process:
            raise RuntimeError("the Kafka log was opened before this process forked: open it afterwards")
        deadline = time.monotonic() + self._settings.ack_timeout
        producer, places = self._connected(deadline)
        topic = self._topic_of(record.stream)
        numbers = places.numbers.get(topic, ())
        if not numbers:
            raise Unavailable(f"there is no Kafka topic for the stream '{record.stream}' yet", remedy="send it again")
        records = packed(record, self._settings.packing)
        size = sum(_size(each) for each in records)
        if record.keyed:
            turn = keyed_partition(record.request_id, len(numbers))
        else:
            turn = self._turns.take(size) % len(numbers)
        self._admit(size)
        futures = []
        woken = (
            threading.Lock()
        )  # released once the last is answered: kafka-python's own wait costs several times as much
        woken.acquire()
        for number, each in enumerate(records):
            try:
                futures.append(self._send(producer, each, topic, turn))
            except (KafkaError, OSError, ValueError) as exc:  # ValueError: the topic has lost partitions
                self._release(sum(_size(rest) for rest in records[number:]))
                raise self._failure(producer, exc) from exc
        futures[-1].add_both(lambda _: woken.release())
        woken.acquire(timeout=max(0.0, deadline - time.monotonic()))
        try:
            offsets = [future.get(timeout=max(0.0, deadline - time.monotonic())).offset for future in futures]
        except (KafkaError, OSError) as exc:
            raise self._failure(producer, exc) from exc
        self._acknowledged_at, self._silent_since = time.monotonic(), None
        return Position(topic, numbers[turn], offsets[0])

    def check(self) -> None:
        if time.monotonic() - self._acknowledged_at < _CHECK_SECONDS:
            return
        self._connected(time.monotonic() + CONNECT_SECONDS)
        topics = (
            self._settings.topics.values()
            if isinstance(self._settings, KafkaTopicsSettings)
            else [self._settings.topic]
        )
        with failures_named(self._settings, "looking whether the log can be written"):
            admin = new_admin(self._settings)
            try:
                found = described_topics(admin, topics)
            finally:
                admin.close()
        for name in topics:
            headless = [part for part in found.get(name, {}).get("partitions", ()) if part["leader_id"] < 0]
            if name not in found or headless:
                raise Unavailable(
                    f"the log cannot be written: Kafka topic '{name}' has no leader"
                    f" for {len(headless) or 'all'} of its partitions",
                    remedy="see that its brokers are up",
                )

    def reader(self, partitions: Sequence[int], start: Mapping[int, int], *, group: str) -> KafkaReader:
        return KafkaReader(self._settings, partitions, start, group, self._described)

    def committed(self, group: str) -> dict[int, int]:
        places = self._described()
        parts = places.known(range(len(places.parts)))
        with failures_named(self._settings, "reading what was committed"):
            consumer = new_consumer(self._settings, group_id=group_name(group))
            try:
                found = {number: consumer.committed(part, timeout_ms=10_000) for number, part in parts.items()}
            finally:
                consumer.close(autocommit=False, timeout_ms=1000)
        return {partition: offset for partition, offset in found.items() if offset is not None}

    def keyed_requests(self, partition: int, *, since: int, before_offset: int) -> list[tuple[str, str, int, int, int]]:
        part = self._described().parts[partition]
        return [] if part is None else keyed_requests(self._settings, part, since=since, before_offset=before_offset)

    def bounds(self) -> dict[int, tuple[int, int]]:
        places = self._described()
        nothing = dict.fromkeys(range(len(places.parts)), (0, 0))
        return nothing | times.bounds(self._settings, places.known(nothing))

    def offsets_at(self, instant: int) -> dict[int, int]:
        places = self._described()
        nothing = dict.fromkeys(range(len(places.parts)), 0)
        return nothing | times.offsets_at(self._settings, places.known(nothing), instant)

    def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.close(timeout=self._settings.ack_timeout)
            except KafkaError:  # something is under way still, and nobody waits for it any more
                abandon(producer)

    def _topic_of(self, stream: str) -> str:
        return (
            self._settings.topics.get(stream, "")
            if isinstance(self._settings, KafkaTopicsSettings)
            else self._settings.topic
        )

    def _send(self, producer: KafkaProducer, record: Record, topic: str, partition: int) -> Any:
        future = producer.send(
            topic,
            record.value,
            headers=record.headers(),
            partition=partition,
            timestamp_ms=record.received_at // 1000,
        )
        # Not when the append gives up, but when the producer does: until then it holds the bytes.
        size = _size(record)
        future.add_both(lambda _: self._release(size))
        return future

    def _admit(self, size: int) -> None:
        with self._counting:
            if self._in_flight + size > self._settings.max_in_flight_bytes:
                raise Unavailable(
                    f"{self._in_flight:,} bytes already wait for Kafka to acknowledge them",
                    remedy="send it again in a moment, or raise log.kafka.max_in_flight_bytes",
                )
            self._in_flight += size

    def _release(self, size: int) -> None:
        with self._counting:
            self._in_flight -= size

    def _failure(self, producer: KafkaProducer, exc: BaseException) -> Unavailable:
        """What to tell the sender. A producer that will not get well by itself is done with; there is a new one then.

        That is one that failed for another reason than the brokers' absence, and one that nothing has been acknowledged
        to for `ack_timeout` since an append gave up on it: kafka-python's waits for ever, once a batch it had sent
        has expired, for an id that it does not ask for (3.0.12, `TransactionManager.reset_producer_id`).
        """
        if isinstance(exc, RetriableError | KafkaTimeoutError | OSError):
            now = time.monotonic()
            self._silent_since = now if self._silent_since is None else self._silent_since
            spent = now - self._silent_since > self._settings.ack_timeout
        else:
            spent = not isinstance(exc, MessageSizeTooLargeError)
        if spent:
            self._replace(producer, exc)
        return unavailable(self._settings, "the log did not acknowledge", exc)

    def _replace(self, producer: KafkaProducer, exc: BaseException) -> None:
        with self._connecting:
            if self._producer is not producer:
                return
            self._producer = self._silent_since = None
        _log.warning("kafka_producer_replaced", topic=self._settings.topic, error=type(exc).__name__)
        threading.Thread(target=abandon, args=(producer,), daemon=True).start()

    def _connected(self, deadline: float) -> tuple[KafkaProducer, Places]:
        producer, places = self._producer, self._places
        if producer is not None and places is not None:
            return producer, places
        if not self._connecting.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise unavailable(self._settings, "the log cannot be reached", KafkaTimeoutError())
        try:
            if self._producer is None or self._places is None:
                self._refuse_for_a_while()
                try:
                    with failures_named(self._settings, "the log cannot be reached"):
                        self._places = find_places(self._settings)
                        self._producer = self._producer or new_producer(self._settings)
                except Unavailable as exc:
                    self._refused = time.monotonic(), exc
                    raise
            return self._producer, self._places
        finally:
            self._connecting.release()

    def _refuse_for_a_while(self) -> None:
        """So that appends do not queue up, each to wait in its turn for brokers that are down."""
        if self._refused is not None and time.monotonic() - self._refused[0] < _RETRY_SECONDS:
            raise Unavailable(self._refused[1].what, remedy=self._refused[1].remedy)

    def _described(self) -> Places:
        places = self._places
        if places is None:
            with self._connecting, failures_named(self._settings, "the log cannot be reached"):
                places = self._places = self._places or find_places(self._settings)
        return places


def _size(record: Record) -> int:
    return len(record.value) + _OVERHEAD
