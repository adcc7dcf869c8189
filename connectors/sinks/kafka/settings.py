"""What a configuration can say of a Kafka cluster that events are sent to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Literal

import msgspec

from connectors.sinks.complaints import complained, refuse
from connectors.sinks.name_templates import check_path
from connectors.sinks.sent import Sent, Timeout, wrong_name

_OURS = frozenset(
    {"acks", "bootstrap_servers", "enable_idempotence", "key_serializer", "transactional_id", "value_serializer"}
)


class KafkaDestination(Sent, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="kafka"):
    """Topics of a Kafka cluster: each event at least once, a JSON record with the headers `event_id` and `stream`.

        destinations:
          topic: {type: kafka, bootstrap_servers: "broker:9092", topic: "clean.{stream}", key: event.user_id}

    `topic` may hold `{stream}`, `{source}`, `{date}` and fields of the event; it begins with a text of its own, and is
    created where it is missing, with the cluster's own defaults for what is left out of `partitions` and
    `replication_factor`. `key` is the path of what becomes the record's key: records of one key keep their order.
    `bootstrap_servers` is `host:port`, or a list of them; `compression` is that of record batches; what is not
    acknowledged within `timeout` is sent again. `options` passes any kafka-python producer option (TLS, SASL, …).
    """

    bootstrap_servers: str | tuple[str, ...]
    topic: Annotated[str, msgspec.Meta(min_length=1)] = "{stream}"
    key: str = "event_id"
    partitions: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    replication_factor: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None
    compression: Literal["none", "gzip", "lz4", "zstd", "snappy"] = "lz4"
    timeout: Timeout = timedelta(seconds=30)
    options: dict[str, Any] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        refuse(self._wrong())

    def _wrong(self) -> Iterator[str]:
        if not self.bootstrap_servers:
            yield "bootstrap_servers: is empty; write host:port"
        yield from wrong_name("topic", self.topic, "any")
        yield from complained("key", check_path, self.key)
        if not self.options:
            return
        from kafka import (
            KafkaProducer,  # a quarter of the time that reading a configuration takes, for those who need it
        )

        for name in self.options:
            if name in _OURS:
                yield f"options: {name} is headrace's to set; remove it"
            elif name not in KafkaProducer.DEFAULT_CONFIG:
                yield f"options: {name[:60]!r} is no option of a kafka-python producer; see its documentation"
