"""The log as a gateway process holds it: opened on first need, again after a failure, and asked whether it is well.

A log that cannot be opened when the process starts (Kafka is down) must not stop it from answering 503 and recovering.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout

from connectors.errors import HeadraceError, Unavailable
from connectors.log import Log, LogSettings, open_log
from connectors.record import Record

_REOPEN_SECONDS = 1.0
_CHECK_CACHE_SECONDS = 1.0
_CHECK_DEADLINE_SECONDS = 3.0


class Appender:
    """Appends records to the log. Threads may share it; made after a fork."""

    def __init__(
        self, settings: LogSettings, log: Log | None = None, *, opener: Callable[[LogSettings], Log] = open_log
    ):
        self._settings = settings
        self._opener = opener
        self._log = log
        self._lock = threading.Lock()
        self._failed: tuple[float, str] | None = None
        self._checks = ThreadPoolExecutor(1, thread_name_prefix="log-check")
        self._checked: tuple[float, str | None] | None = None

    def take(self, settings: LogSettings) -> None:
        """Goes by the streams that `settings` know from now on."""
        with self._lock:
            self._settings = settings
            if self._log is not None:
                self._log.take(settings)

    def append(self, record: Record) -> None:
        """Returns once the log has the record; raises Unavailable otherwise."""
        (self._log or self._open()).append(record)

    def trouble(self) -> str | None:
        """Why an append would fail now, or None; an answer of a second ago will do, and it comes within seconds."""
        now = time.monotonic()
        checked = self._checked
        if checked is not None and now - checked[0] < _CHECK_CACHE_SECONDS:
            return checked[1]
        try:
            trouble = self._checks.submit(self._check).result(_CHECK_DEADLINE_SECONDS)
        except FutureTimeout:
            trouble = "the log does not answer"
        self._checked = (time.monotonic(), trouble)
        return trouble

    def close(self) -> None:
        self._checks.shutdown(wait=False, cancel_futures=True)
        if self._log is not None:
            self._log.close()

    def _check(self) -> str | None:
        try:
            (self._log or self._open()).check()
        except HeadraceError as exc:
            return str(exc)
        return None

    def _open(self) -> Log:
        with self._lock:
            if self._log is not None:
                return self._log
            if self._failed is not None and time.monotonic() - self._failed[0] < _REOPEN_SECONDS:
                raise Unavailable(self._failed[1])
            try:
                self._log = self._opener(self._settings)
            except HeadraceError as exc:
                self._failed = (time.monotonic(), str(exc))
                raise Unavailable(str(exc)) from exc
            return self._log
