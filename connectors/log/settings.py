"""What a configuration can say of the log: `log: {kafka: {…}}`, `log: {embedded: {…}}`, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from connectors.values import Kind

Partitions = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class EmbeddedLogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The log in SQLite files on the local disk: no server to run, several gateway processes and readers at once.

    `path` is a directory (default `<data>/log`); `retention_hours` and `retention_bytes` bound what is kept.
    """

    path: Path = Path("data/log")
    partitions: Partitions = 4
    retention_hours: Annotated[int, msgspec.Meta(ge=1)] = 168
    retention_bytes: Annotated[int, msgspec.Meta(ge=1_000_000), Kind("size")] = 10_000_000_000
    packing: Literal["request", "event"] = "request"


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


LogSettings = EmbeddedLogSettings | KafkaLogSettings
