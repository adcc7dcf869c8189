"""What a configuration can say of the log: `log: {kafka: {…}}`, `log: {embedded: {…}}`, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from connectors.values import Kind

Partitions = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class EmbeddedLogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The log in SQLite files on the local disk: no server to run, several gateway processes and readers at once.

    `path` is a directory (default `<data>/log`); `retention_hours` and `retention_bytes` bound what is kept. `compression`
    is of requests of some kilobytes; what was written otherwise is read all the same.
    """

    path: Path = Path("data/log")
    partitions: Partitions = 4
    retention_hours: Annotated[int, msgspec.Meta(ge=1)] = 168
    retention_bytes: Annotated[int, msgspec.Meta(ge=1_000_000), Kind("size")] = 10_000_000_000
    packing: Literal["request", "event"] = "request"
    compression: Literal["none", "zstd"] = "zstd"


class KafkaLogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The log in a Kafka topic.

    `topic` may hold `{stream}` (a topic a stream); it is created with `partitions` and `replication_factor` where it is
    missing. `options` passes any kafka-python client option (TLS, SASL, …). `ack_timeout` (seconds) bounds how long an
    append waits for its acknowledgement; `max_in_flight_bytes` bounds what waits, past it an append is refused.
    """

    bootstrap_servers: str | list[str]
    topic: str = "headrace.events"
    partitions: Partitions = 12
    replication_factor: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    packing: Literal["request", "event"] = "request"
    compression: Literal["none", "gzip", "lz4", "zstd", "snappy"] = "lz4"
    ack_timeout: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    max_in_flight_bytes: Annotated[int, msgspec.Meta(ge=2_097_152), Kind("size")] = 134_217_728
    options: dict[str, Any] = {}


class KafkaTopicsSettings(KafkaLogSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The same where `topic` holds `{stream}`: `topics` are the streams' by the streams' ids. No file says so itself."""

    topics: dict[str, str]


LogSettings = EmbeddedLogSettings | KafkaLogSettings


def with_topics(settings: LogSettings, streams: Mapping[str, str]) -> LogSettings:
    """The settings with a topic for each of the `streams` (names by id), where they ask for that."""
    if not isinstance(settings, KafkaLogSettings) or "{stream}" not in settings.topic:
        return settings
    fields = {name: getattr(settings, name) for name in KafkaLogSettings.__struct_fields__}
    topics = {stream: settings.topic.replace("{stream}", name) for stream, name in streams.items()}
    return KafkaTopicsSettings(**fields, topics=topics)


def without_topics(settings: LogSettings) -> LogSettings:
    """What of the settings may not change while headrace runs."""
    return msgspec.structs.replace(settings, topics={}) if isinstance(settings, KafkaTopicsSettings) else settings
