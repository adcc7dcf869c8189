"""Clients of the Kafka log: their options, their topic, and what their errors mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import (
    KafkaConfigurationError,
    KafkaError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailedError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from connectors.errors import ConfigError, Unavailable
from connectors.log.settings import KafkaLogSettings

REQUEST_BYTES = 2_097_152  # a request of 1 MB with its headers and the framing of its batch
CONNECT_SECONDS = 5.0
_LINGER_MS, _BATCH_BYTES = 5, 262_144
_BATCHING = {"linger_ms": "milliseconds", "batch_size": "bytes"}

_OURS = {  # what the promises of the log rest on, or what other settings say
    "acks",
    "auto_offset_reset",
    "bootstrap_servers",
    "enable_auto_commit",
    "enable_idempotence",
    "group_id",
    "isolation_level",
    "key_deserializer",
    "key_serializer",
    "transactional_id",
    "value_deserializer",
    "value_serializer",
}


def refuse_bad_options(settings: KafkaLogSettings) -> None:
    """ConfigError for options that no client knows, that headrace decides, or that are no numbers where it counts with them."""
    known = KafkaProducer.DEFAULT_CONFIG.keys() | KafkaConsumer.DEFAULT_CONFIG.keys()
    for name, value in settings.options.items():
        if name in _BATCHING and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise ConfigError(
                f"log.kafka.options.{name} is not a number of {_BATCHING[name]}", remedy="write one, without a unit"
            )
        if name in _OURS:
            raise ConfigError(f"log.kafka.options.{name} is headrace's to set", remedy="remove it")
        if name not in known:
            raise ConfigError(
                f"log.kafka.options.{name} is no option of kafka-python", remedy="see the documentation of its clients"
            )


def batching(settings: KafkaLogSettings) -> tuple[float, int]:
    """How long the producer waits for a batch to fill, in seconds, and when it is full, in bytes."""
    found = {"linger_ms": _LINGER_MS, "batch_size": _BATCH_BYTES} | settings.options
    return found["linger_ms"] / 1000, found["batch_size"]


def new_producer(settings: KafkaLogSettings) -> KafkaProducer:
    """A producer, connected; a batch it cannot deliver fails within `ack_timeout`, so its memory is given back."""
    patience = int(settings.ack_timeout * 1000)
    defaults = {
        "acks": "all",
        "enable_idempotence": True,
        "linger_ms": _LINGER_MS,
        "batch_size": _BATCH_BYTES,
        "compression_type": None if settings.compression == "none" else settings.compression,
        "max_request_size": REQUEST_BYTES,
        "request_timeout_ms": patience,
        "delivery_timeout_ms": patience + 1000,
        "max_block_ms": patience,
        "reconnect_backoff_max_ms": 1000,
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }
    return KafkaProducer(**_configured(KafkaProducer, settings, defaults))


def new_consumer(settings: KafkaLogSettings, **defaults: Any) -> KafkaConsumer:
    """A consumer, connected and assigned nothing."""
    return KafkaConsumer(
        **_configured(
            KafkaConsumer,
            settings,
            {
                "enable_auto_commit": False,
                "auto_offset_reset": "none",
                "isolation_level": "read_committed",
                "fetch_max_wait_ms": 100,
                "fetch_max_bytes": 16_777_216,
                "max_partition_fetch_bytes": 4_194_304,
                "request_timeout_ms": 15_000,
                "reconnect_backoff_max_ms": 1000,
                "allow_auto_create_topics": False,
                "metrics_enabled": False,
                **defaults,
            },
        )
    )


def new_admin(settings: KafkaLogSettings) -> KafkaAdminClient:
    """A client that asks for topics and makes them, connected."""
    defaults = {"request_timeout_ms": int(CONNECT_SECONDS * 1000)}
    return KafkaAdminClient(**_configured(KafkaAdminClient, settings, defaults))


def described_topics(admin: KafkaAdminClient, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The metadata of those of the topics that are there."""
    wanted = set(names)
    found: list[dict[str, Any]] = []
    if wanted:
        try:
            found = admin.describe_topics(sorted(wanted))
        except UnknownTopicOrPartitionError:  # one of them is not there: ask for each
            found = (
                []
                if len(wanted) == 1
                else [topic for name in wanted for topic in described_topics(admin, [name]).values()]
            )
    return {topic["name"]: topic for topic in found if topic["name"] in wanted and not topic.get("error_code")}


def create_topic(admin: KafkaAdminClient, settings: KafkaLogSettings, name: str, configs: Mapping[str, str]) -> None:
    """Makes a topic as `settings` say, unless another process was faster."""
    topic = {
        "num_partitions": settings.partitions,
        "replication_factor": settings.replication_factor,
        "configs": {"max.message.bytes": str(REQUEST_BYTES), **configs},
    }
    with suppress(TopicAlreadyExistsError):
        admin.create_topics({name: topic}, timeout_ms=int(CONNECT_SECONDS * 1000), wait_for_metadata=True)


@contextmanager
def failures_named(settings: KafkaLogSettings, doing: str) -> Iterator[None]:
    """Turns what kafka-python raises into an Unavailable that says what, where, and the remedy."""
    try:
        yield
    except (KafkaError, OSError) as exc:
        raise unavailable(settings, doing, exc) from exc


def unavailable(settings: KafkaLogSettings, doing: str, exc: BaseException) -> Unavailable:
    """The Unavailable that `exc` means. It names the error, never what was being sent."""
    servers = settings.bootstrap_servers
    where = servers if isinstance(servers, str) else ",".join(servers)
    remedy = "send it again in a moment; if it stays so, see that the brokers are up and reachable from here"
    if isinstance(exc, MessageSizeTooLargeError):
        remedy = f"set max.message.bytes of the topic, and message.max.bytes of the brokers, to {REQUEST_BYTES}"
    elif isinstance(exc, SaslAuthenticationFailedError | TopicAuthorizationFailedError):
        remedy = "see log.kafka.options, and that this user may read, write and create the topic"
    elif isinstance(exc, KafkaConfigurationError):
        remedy = f"mend log.kafka.options: {exc}"
    return Unavailable(f"{doing} (Kafka topic '{settings.topic}' at {where}): {type(exc).__name__}", remedy=remedy)


def _configured(client: Any, settings: KafkaLogSettings, defaults: dict[str, Any]) -> dict[str, Any]:
    """The options of `client`: ours, and on top of them those of the user's that this kind of client has."""
    own = {name: value for name, value in settings.options.items() if name in client.DEFAULT_CONFIG}
    return {
        "client_id": "headrace",
        "bootstrap_timeout_ms": int(min(CONNECT_SECONDS, settings.ack_timeout) * 1000),
        **defaults,
        **own,
        "bootstrap_servers": settings.bootstrap_servers,
    }
