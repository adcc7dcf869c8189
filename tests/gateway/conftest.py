"""Gateways for the tests: one that most share, with a short time for bodies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.live import Gateway, settings_in


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    running = Gateway(settings_in(tmp_path_factory.mktemp("gateway"), body_timeout=1.5), workers=2)
    yield running
    assert running.stop() == 0
