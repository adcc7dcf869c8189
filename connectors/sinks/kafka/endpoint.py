"""Rows into Kafka topics by one idempotent producer a process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic
from kafka.errors import (
    InvalidTopicError,
    KafkaConfigurationError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    SaslAuthenticationFailedError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
)

from connectors.errors import ConfigError, Transient
from connectors.sinks.connection import Refusal, Unfinished
from connectors.sinks.documents import EVENT_ID, Documents
from connectors.sinks.kafka.settings import KafkaDestination
from connectors.sinks.names import NameTemplate, check_path, field_text

_NEVER = (MessageSizeTooLargeError, RecordListTooLargeError)
_OURS = {"acks", "bootstrap_servers", "enable_idempotence", "key_serializer", "transactional_id", "value_serializer"}
_RECORD_BYTES = 16_777_216  # the broker's own bound decides: what it refuses is a dead letter


class KafkaEndpoint:
    """A cluster (implements `Endpoint`). Its connections share a producer, which is safe for threads."""

    def __init__(self, settings: KafkaDestination) -> None:
        """Raises ConfigError for options that no producer has, or that headrace decides."""
        for name in settings.options:
            if name in _OURS or name not in KafkaProducer.DEFAULT_CONFIG:
                what = "is headrace's to set" if name in _OURS else "is no option of a kafka-python producer"
                raise ConfigError(f"destinations: kafka: options.{name} {what}", remedy="remove it")
        self._settings = settings
        self._lock = threading.Lock()
        self._producer: KafkaProducer | None = None
        self._topics: set[str] = set()
        self.max_rows = settings.batch_rows
        self.max_bytes = settings.batch_bytes

    def connect(self) -> KafkaConnection:
        """See `Endpoint.connect`."""
        return KafkaConnection(self, self._settings)

    def producer(self, topics: set[str]) -> KafkaProducer:
        """The producer, and the topics made where they are missing. Raises Transient, ConfigError."""
        with self._lock:
            try:
                if not topics <= self._topics:
                    self._make(topics - self._topics)
                    self._topics |= topics
                if self._producer is None:
                    self._producer = KafkaProducer(**self._options(KafkaProducer))
            except (KafkaError, OSError) as exc:
                raise self._meant(exc) from exc
            return self._producer

    def give_up(self, producer: KafkaProducer) -> None:
        """Ends a producer that failed: what it has not delivered by now it never will, so nothing arrives out of turn."""
        with self._lock:
            if self._producer is producer:
                self._producer = None
                self._topics.clear()
        producer.close(timeout=0)

    def _meant(self, exc: BaseException) -> Transient | ConfigError:
        servers = self._settings.bootstrap_servers
        where = servers if isinstance(servers, str) else ",".join(servers)
        if isinstance(exc, SaslAuthenticationFailedError | TopicAuthorizationFailedError | KafkaConfigurationError):
            return ConfigError(f"Kafka at {where} refuses us: {type(exc).__name__}", remedy="see options")
        return Transient(f"Kafka at {where} does not take records: {type(exc).__name__}")

    def _options(self, client: Any) -> dict[str, Any]:
        settings = self._settings
        patience = int(settings.timeout.total_seconds() * 1000)
        defaults = {
            "client_id": "headrace",
            "acks": "all",
            "enable_idempotence": True,
            "linger_ms": 5,
            "batch_size": 262_144,
            "compression_type": None if settings.compression == "none" else settings.compression,
            "max_request_size": _RECORD_BYTES,
            "request_timeout_ms": patience,
            "delivery_timeout_ms": patience + 1000,
            "max_block_ms": patience,
            "bootstrap_timeout_ms": min(patience, 5000),
            "reconnect_backoff_max_ms": 1000,
            "allow_auto_create_topics": False,
            "metrics_enabled": False,
            **settings.options,
            "bootstrap_servers": settings.bootstrap_servers
            if isinstance(settings.bootstrap_servers, str)
            else list(settings.bootstrap_servers),
        }
        return {name: value for name, value in defaults.items() if name in client.DEFAULT_CONFIG}

    def _make(self, topics: set[str]) -> None:
        admin = KafkaAdminClient(**self._options(KafkaAdminClient))
        try:
            partitions, copies = self._settings.partitions or -1, self._settings.replication_factor or -1
            for topic in sorted(topics - set(admin.list_topics())):
                try:
                    admin.create_topics([NewTopic(topic, partitions, copies)])
                except TopicAlreadyExistsError:
                    continue  # another process was faster
        finally:
            admin.close()


class KafkaConnection:
    """One thread's use of the producer (implements `Connection`)."""

    def __init__(self, endpoint: KafkaEndpoint, settings: KafkaDestination) -> None:
        self._endpoint = endpoint
        self._patience = settings.timeout.total_seconds() + 2
        self._topic = NameTemplate(settings.topic, "any")
        self._key = check_path("key", settings.key)
        self._documents = Documents()

    def send(self, stream: str, rows: pa.Table) -> Sequence[Refusal]:
        """See `Connection.send`. Raises Unfinished where the cluster took only some."""
        made = self._documents.of(stream, rows)
        topics = self._topic.of(stream, rows).to_pylist()
        ids = made.column(EVENT_ID).to_pylist()
        keys = ids if self._key == (EVENT_ID,) else field_text(rows, self._key).to_pylist()
        producer = self._endpoint.producer(set(topics))
        refusals: dict[int, str] = {}
        failed: dict[int, BaseException] = {}
        promised = []
        for row, (topic, key, event_id, document) in enumerate(
            zip(topics, keys, ids, made.column("document").to_pylist(), strict=True)
        ):
            try:
                headers = [("event_id", event_id.encode()), ("stream", stream.encode())]
                promised.append(
                    (row, producer.send(topic, document.encode(), None if key is None else key.encode(), headers))
                )
            except _NEVER as exc:
                refusals[row] = f"{type(exc).__name__}: a record of {len(document.encode())} bytes"
            except (KafkaError, OSError) as exc:
                failed[row] = exc
                break
        producer.flush_nowait() if hasattr(producer, "flush_nowait") else None
        for row, promise in promised:
            try:
                promise.get(timeout=self._patience)
            except _NEVER as exc:
                refusals[row] = f"{type(exc).__name__}: more than the topic's max.message.bytes"
            except InvalidTopicError as exc:
                refusals[row] = f"{type(exc).__name__}: {topics[row]}"
            except (KafkaError, OSError) as exc:
                failed[row] = exc
        refused = [Refusal(row, reason) for row, reason in sorted(refusals.items())]
        if not failed:
            return refused
        self._endpoint.give_up(producer)
        meant = self._endpoint._meant(failed[min(failed)])
        taken = {row for row, _ in promised} - failed.keys()
        left = [row for row in range(rows.num_rows) if row not in taken and row not in refusals]
        raise Unfinished(meant.what, left=left, refusals=refused)

    def close(self) -> None:
        """See `Connection.close`; the producer is the endpoint's."""
        self._documents.close()
