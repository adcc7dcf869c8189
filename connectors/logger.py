"""Logs as key-values on stderr: positions, counts and names; never payloads, never secrets.

structlog writes them. It is imported for the first line, and without rich, which it takes along to draw stack traces
that headrace does not show: together they take longer than most commands, which have nothing to log.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import MutableMapping
from functools import partial
from types import ModuleType
from typing import Any

from connectors.refusing import refusing

_lock = threading.RLock()  # a signal's handler may log while its thread is at its own first line
_wanted: list[partial[None]] = []


class Logger:
    """Lines of one level each: `event` says what happened, `facts` where and how much."""

    def debug(self, event: str, **facts: object) -> None:
        """What helps to find a fault."""
        _structlog().get_logger().debug(event, **facts)

    def info(self, event: str, **facts: object) -> None:
        """What is as it should be."""
        _structlog().get_logger().info(event, **facts)

    def warning(self, event: str, **facts: object) -> None:
        """What somebody should know of."""
        _structlog().get_logger().warning(event, **facts)

    def error(self, event: str, **facts: object) -> None:
        """What somebody has to see to."""
        _structlog().get_logger().error(event, **facts)

    def exception(self, event: str, **facts: object) -> None:
        """An error, with the stack trace of the exception that is being handled."""
        _structlog().get_logger().exception(event, **facts)


def get_logger() -> Logger:
    """A logger for a module."""
    return Logger()


def configure_logging(level: str | None = None, **facts: object) -> None:
    """Has this process log to stderr, as JSON unless that is a terminal; each line has the `facts`.

    `HEADRACE_LOG_LEVEL` sets the level where `level` does not.
    """
    name = (level or os.environ.get("HEADRACE_LOG_LEVEL", "info")).upper()
    # The Kafka client reports each failed connection as an error, several a second; what it means is logged by its user.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    with _lock:
        _wanted[:] = [partial(_configure, logging.getLevelNamesMapping().get(name, logging.INFO), facts)]
        if "structlog" in sys.modules:
            _structlog()


def _structlog() -> ModuleType:
    """structlog, configured as was asked for last."""
    with _lock:
        with refusing("rich"):
            import structlog
        while _wanted:
            _wanted.pop()()
    return structlog


def _configure(level: int, facts: dict[str, object]) -> None:
    import structlog

    def with_facts(logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        del logger, method
        return {**facts, **line}

    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            with_facts,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,  # one is made for each line: see `Logger`
    )
