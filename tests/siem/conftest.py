"""Real servers that security teams collect events with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import had
from tests.services.otel import AcknowledgingCollector
from tests.services.syslog import Rsyslog, SyslogNg, SyslogServer
from tests.services.tenzir import Collector


@pytest.fixture(params=[Rsyslog, SyslogNg], ids=["rsyslog", "syslog-ng"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SyslogServer]:
    """A syslog server of the test's own, started."""
    made: SyslogServer = had(lambda: request.param(tmp_path / "syslog"))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[Rsyslog]:
    made = had(lambda: Rsyslog(tmp_path / "syslog"))
    made.start()
    yield made
    made.kill()


@pytest.fixture(params=[False, True], ids=["http", "https"])
def collector(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Collector]:
    """A HEC receiver of the test's own, started."""
    made = had(lambda: Collector(tmp_path / "hec", tls=request.param))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def acknowledging(tmp_path: Path) -> Iterator[AcknowledgingCollector]:
    """A HEC receiver with indexer acknowledgement, of the test's own, started."""
    made = had(lambda: AcknowledgingCollector(tmp_path / "hec"))
    made.start()
    yield made
    made.kill()


@pytest.fixture(params=[False, True], ids=["http", "https"])
def any_acknowledging(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AcknowledgingCollector]:
    """The same over HTTP, and over TLS."""
    made = had(lambda: AcknowledgingCollector(tmp_path / "hec", tls=request.param))
    made.start()
    yield made
    made.kill()
