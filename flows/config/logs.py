"""What must hold of the log that a configuration names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from msgspec import UNSET

from connectors.log.settings import KafkaLogSettings
from flows.config.report import Report

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_REMEDY = "a topic's name has letters, digits, '.', '_' and '-', 249 at most; {stream} in it makes a topic a stream"


def check_log(log: Any, streams: Iterable[str], report: Report) -> None:
    """Tells `report` what is wrong with the name of the topic, or with those of the streams' topics."""
    topic: Any = log.topic if isinstance(log, KafkaLogSettings) else UNSET
    if topic is UNSET:
        return
    for name in [*streams, "_partitions"] if "{stream}" in topic else [""]:
        whole = topic.replace("{stream}", name)
        if not _TOPIC.fullmatch(whole) or whole in (".", ".."):
            report.add("log.kafka.topic", f"{whole!r} cannot be the name of a Kafka topic", _REMEDY)
            return
