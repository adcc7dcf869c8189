"""Logs to test: the same tests run against the embedded one and against a real Kafka broker."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connectors.log import EmbeddedLogSettings, KafkaLogSettings, Log, LogSettings, open_log
from connectors.log.settings import with_topics
from tests.log.records import STREAM


@pytest.fixture(params=["embedded", "kafka", "kafka, a topic a stream"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> LogSettings:
    """A log that nobody has written to, with three partitions."""
    if request.param == "embedded":
        return EmbeddedLogSettings(path=tmp_path / "log", partitions=3)
    settings = kafka_settings(request.getfixturevalue("kafka"))
    return settings if request.param == "kafka" else topics_settings(settings, {STREAM: "pay"})


@pytest.fixture
def opened() -> Iterator[Callable[[LogSettings], Log]]:
    """Opens logs, and closes them when the test is over."""
    logs: list[Log] = []

    def open_one(settings: LogSettings) -> Log:
        logs.append(open_log(settings))
        return logs[-1]

    yield open_one
    for log in logs:
        log.close()


@pytest.fixture
def log(settings: LogSettings, opened: Callable[[LogSettings], Log]) -> Log:
    return opened(settings)


def topics_settings(settings: KafkaLogSettings, streams: dict[str, str]) -> LogSettings:
    """The same with a topic for each of the streams (names by id)."""
    topic = settings.topic if "{stream}" in settings.topic else f"{settings.topic}.{{stream}}"
    fields = {name: getattr(settings, name) for name in KafkaLogSettings.__struct_fields__}
    return with_topics(KafkaLogSettings(**{**fields, "topic": topic}), streams)


def kafka_settings(bootstrap: str, **others: object) -> KafkaLogSettings:
    """A topic of its own, three partitions."""
    return KafkaLogSettings(bootstrap_servers=bootstrap, topic=f"test.{uuid.uuid4()}", **{"partitions": 3, **others})  # type: ignore[arg-type] -- the tests name settings by keyword
