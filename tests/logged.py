"""What this process logs, for a test to look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from structlog.testing import capture_logs
from structlog.typing import EventDict

from connectors.logger import configure_logging, get_logger


@contextmanager
def logged() -> Iterator[list[EventDict]]:
    """The lines that are logged meanwhile, at any level, whatever a command run in this process before asked for."""
    configure_logging("debug")
    get_logger().debug("a line")  # structlog is configured with the first: before it is listened to
    with capture_logs() as lines:
        yield lines
    configure_logging()
