"""The real servers of the tests: started when the first test asks, shared by the session, stopped at its end.

Under pytest-xdist every worker starts its own: ports are picked and data lies in the worker's own directory, so they do
not meet; each broker takes some 500 MB. Where a server cannot be had, its tests are skipped and counted at the end of
the run, or fail with HEADRACE_REQUIRE_SERVICES=1.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings

from tests.services.kafka import KafkaBroker
from tests.services.leash import hold
from tests.services.opensearch import OpenSearch
from tests.services.process import ServiceMissingError
from tests.services.seaweedfs import SeaweedFS

Server = TypeVar("Server")

hold()
settings.register_profile("headrace", deadline=None)  # no test is of how long something takes
settings.load_profile("headrace")

_MISSING = "service missing: "


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a real broker; HEADRACE_TEST_KAFKA=host:port names one that is already there."""
    given = os.environ.get("HEADRACE_TEST_KAFKA")
    if given:
        yield given
        return
    broker = had(lambda: KafkaBroker(tmp_path_factory.mktemp("kafka")))
    broker.start()
    yield broker.bootstrap
    broker.stop()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaBroker]:
    """A broker of the test's own, started, for it to kill and restart."""
    broker = had(lambda: KafkaBroker(tmp_path / "kafka"))
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A real S3 server."""
    server = had(lambda: SeaweedFS(tmp_path_factory.mktemp("s3")))
    server.start()
    yield server
    server.kill()  # it takes 13 s to stop when asked, and nothing reads its data again


@pytest.fixture
def own_s3(tmp_path: Path) -> Iterator[SeaweedFS]:
    """An S3 server of the test's own, started, for it to kill and restart."""
    server = had(lambda: SeaweedFS(tmp_path / "s3"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def opensearch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSearch]:
    """A real OpenSearch node."""
    server = had(lambda: OpenSearch(tmp_path_factory.mktemp("opensearch")))
    server.start(seconds=120)
    yield server
    server.kill()


@pytest.fixture
def own_opensearch(tmp_path: Path) -> Iterator[OpenSearch]:
    """A node of the test's own, started, for it to kill and restart."""
    server = had(lambda: OpenSearch(tmp_path / "opensearch"))
    server.start(seconds=120)
    yield server
    server.kill()


def had(make: Callable[[], Server]) -> Server:
    """What `make` makes; where it needs what this machine has not, the test is skipped, or fails if it may not be."""
    try:
        return make()
    except ServiceMissingError as exc:
        if os.environ.get("HEADRACE_REQUIRE_SERVICES") == "1":
            pytest.fail(f"{_MISSING}{exc}")
        pytest.skip(f"{_MISSING}{exc}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if _MISSING in str(report.longrepr)]
    if skipped:
        reasons = {str(report.longrepr[2]).split(_MISSING, 1)[-1] for report in skipped}
        terminalreporter.write_line(f"{len(skipped)} tests did not run for want of a server: {'; '.join(reasons)}")
