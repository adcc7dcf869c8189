"""Settings that change while the gateway runs: every worker process looks for itself, and takes them between requests.

A request sees the old streams and limits or the new ones, never some of each; none is dropped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from connectors.logger import get_logger
from gateway.settings import Settings

SECONDS = 0.25

_log = get_logger()


class Source(Protocol):
    """Where settings come from. Each process has a copy of its own, and one thread that looks."""

    def begin(self) -> Settings:
        """The settings in force. Called once in each process, before the first look."""

    def look(self) -> Settings | str | None:
        """Settings that are new; why what has changed is not taken, once; or None."""


def follow(source: Source, take: Callable[[Settings], None], *, tell: bool = False) -> None:
    """Looks from now on, in a thread of its own; `take` gets what is new. With `tell` it is logged, and what is not taken."""
    threading.Thread(target=_follow, args=(source, take, tell), name="follow-settings", daemon=True).start()


def _follow(source: Source, take: Callable[[Settings], None], tell: bool) -> None:
    while True:
        time.sleep(SECONDS)
        found = source.look()
        if isinstance(found, Settings):
            take(found)
            if tell:
                _log.info("configuration taken", config_version=found.version)
        elif found is not None and tell:
            _log.error("the changed configuration is not taken; the old one stays", problems=found)
