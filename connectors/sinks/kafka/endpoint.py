"""Rows into Kafka topics."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic
from kafka.errors import (
    KafkaConfigurationError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    SaslAuthenticationFailedError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
)

from connectors.abandoning import abandon
from connectors.errors import ConfigError, Transient
from connectors.sinks.connection import Refusal, Unfinished
from connectors.sinks.documents import EVENT_ID, Documents
from connectors.sinks.kafka.settings import KafkaDestination
from connectors.sinks.name_templates import check_path
from connectors.sinks.names import NameTemplate, field_text

_NEVER = (MessageSizeTooLargeError, RecordListTooLargeError)
_RECORD_BYTES = 16_777_216  # the broker's own bound decides: what it refuses is a dead letter


class KafkaEndpoint:
    """A cluster (implements `Endpoint`)."""

    def __init__(self, settings: KafkaDestination) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._topics: set[str] = set()
        self.max_rows = settings.batch_rows
        self.max_bytes = settings.batch_bytes

    def connect(self) -> KafkaConnection:
        """See `Endpoint.connect`; the cluster is spoken to at the first `send`."""
        return KafkaConnection(self, self._settings)

    def new_producer(self) -> KafkaProducer:
        """A producer, connected. Raises Transient, ConfigError."""
        try:
            return KafkaProducer(**self._options(KafkaProducer))
        except (KafkaError, OSError) as exc:
            raise self.meant(exc) from exc

    def make_missing(self, topics: set[str]) -> None:
        """Sees to it that the topics are there. Raises Transient, ConfigError."""
        with self._lock:
            if topics <= self._topics:
                return
            try:
                self._make(topics - self._topics)
            except (KafkaError, OSError) as exc:
                raise self.meant(exc) from exc
            self._topics |= topics

    def forget_topics(self) -> None:
        """Has the topics looked for anew: one may have been deleted."""
        with self._lock:
            self._topics.clear()

    def meant(self, exc: BaseException) -> Transient | ConfigError:
        """What an error of kafka-python means; nothing of a record is in it."""
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
    """One idempotent producer (implements `Connection`).

    A producer's error is an error of all that it has under way, so it serves one thread, and is not used again.
    """

    def __init__(self, endpoint: KafkaEndpoint, settings: KafkaDestination) -> None:
        self._endpoint = endpoint
        self._patience = settings.timeout.total_seconds() + 2
        self._topic = NameTemplate(settings.topic, "any")
        self._key = check_path(settings.key)
        self._documents = Documents()
        self._producer: KafkaProducer | None = None

    def send(self, stream: str, rows: pa.Table) -> Sequence[Refusal]:
        """See `Connection.send`. Raises Unfinished where the cluster took only some."""
        records = self._records(stream, rows)
        self._endpoint.make_missing({record.topic for record in records})
        refusals: list[Refusal] = []
        parts = [list(range(len(records)))]
        while parts:
            part = parts.pop()
            failed = self._deliver(records, part)
            if not failed:
                continue
            self.close_producer()
            error = next(iter(failed.values()))
            if not any(isinstance(exc, _NEVER) for exc in failed.values()):
                self._endpoint.forget_topics()
                left = sorted([*failed, *(row for rest in parts for row in rest)])
                raise Unfinished(self._endpoint.meant(error).what, left=left, refusals=refusals)
            if len(part) == 1:
                size = len(records[part[0]].value)
                refusals.append(Refusal(part[0], f"{type(error).__name__}: an event of {size} bytes"))
            else:  # what is too large takes others with it: it is found by halving
                rows_left = sorted(failed)
                middle = max(len(rows_left) // 2, 1)
                parts += [half for half in (rows_left[middle:], rows_left[:middle]) if half]
        return refusals

    def close(self) -> None:
        """See `Connection.close`."""
        self.close_producer()
        self._documents.close()

    def close_producer(self) -> None:
        """Ends the producer: what it has not delivered by now it never will, so nothing arrives out of turn."""
        producer, self._producer = self._producer, None
        if producer is not None:
            abandon(producer)

    def _records(self, stream: str, rows: pa.Table) -> list[_Record]:
        made = self._documents.of(stream, rows)
        topics = self._topic.of(stream, rows).to_pylist()
        ids = made.column(EVENT_ID).to_pylist()
        keys = ids if self._key == (EVENT_ID,) else field_text(rows, self._key).to_pylist()
        return [
            _Record(
                topic,
                None if key is None else key.encode(),
                document.encode(),
                [("event_id", event_id.encode()), ("stream", stream.encode())],
            )
            for topic, key, event_id, document in zip(
                topics, keys, ids, made.column("document").to_pylist(), strict=True
            )
        ]

    def _deliver(self, records: Sequence[_Record], part: Sequence[int]) -> dict[int, BaseException]:
        """Sends the records at these places and waits for their acknowledgement; those that have none, and why."""
        failed: dict[int, BaseException] = {}
        promised = []
        if self._producer is None:
            self._producer = self._endpoint.new_producer()
        for row in part:
            record = records[row]
            try:
                promise = self._producer.send(record.topic, record.value, record.key, record.headers)
                promised.append((row, promise))
            except (KafkaError, OSError) as exc:
                failed[row] = exc
                if not isinstance(exc, _NEVER):
                    failed |= dict.fromkeys([later for later in part if later > row], exc)
                    break
        for row, promise in promised:
            try:
                promise.get(timeout=self._patience)
            except (KafkaError, OSError) as exc:
                failed[row] = exc
        return failed


class _Record(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
