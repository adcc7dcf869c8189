"""Logs to test: the same tests run against the embedded one and against a real Kafka broker."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connectors.log import EmbeddedLogSettings, KafkaLogSettings, Log, LogSettings, open_log


@pytest.fixture(params=["embedded", "kafka"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> LogSettings:
    """A log that nobody has written to, with three partitions."""
    if request.param == "embedded":
        return EmbeddedLogSettings(path=tmp_path / "log", partitions=3)
    return kafka_settings(request.getfixturevalue("kafka"))


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


def kafka_settings(bootstrap: str, **others: object) -> KafkaLogSettings:
    """A topic of its own, three partitions."""
    return KafkaLogSettings(bootstrap_servers=bootstrap, topic=f"test.{uuid.uuid4()}", **{"partitions": 3, **others})  # type: ignore[arg-type] -- the tests name settings by keyword
