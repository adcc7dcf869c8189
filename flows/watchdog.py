"""Watches what one thread takes of time and memory while it is at work, from a thread of its own.

Time is the processor time of the watched thread: a machine that is busy with other things makes nothing late.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from connectors.errors import HeadraceError

_LOOK = 0.05  # seconds
_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Bounds(msgspec.Struct, frozen=True):
    """What a batch may take: seconds of processor time, and megabytes by which the process may grow meanwhile."""

    seconds: float = 60.0
    megabytes: float = 1536.0

    @classmethod
    def from_environment(cls) -> Bounds:
        """With `HEADRACE_BATCH_SECONDS` and `HEADRACE_BATCH_MEGABYTES`, where they are set."""
        return cls(
            _number("HEADRACE_BATCH_SECONDS", cls().seconds), _number("HEADRACE_BATCH_MEGABYTES", cls().megabytes)
        )


def _number(name: str, usual: float) -> float:
    text = os.environ.get(name)
    try:
        value = usual if text is None else float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise HeadraceError(f"{name} is {text!r}", remedy=f"set it to a number above 0, or leave it out: {usual:g}")
    return value


class _Task(msgspec.Struct, frozen=True, gc=False):
    bounds: Bounds
    clock: int
    began: float
    resident: float
    exceeded: Callable[[str], None]


class Watchdog:
    """Watches one piece of work at a time in each thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: dict[int, _Task] = {}
        self._process = 0
        self._ending = threading.Event()

    @contextmanager
    def over(self, bounds: Bounds, exceeded: Callable[[str], None]) -> Iterator[None]:
        """Calls `exceeded`, from another thread, with what was too much in the block; it is to end the process.

        What a block takes that stands within another is not counted for the outer one.
        """
        thread = threading.get_ident()
        clock = time.pthread_getcpuclockid(thread) if hasattr(time, "pthread_getcpuclockid") else time.CLOCK_MONOTONIC
        task = _Task(bounds, clock, time.clock_gettime(clock), _resident(), exceeded)
        with self._lock:
            if self._process != os.getpid():  # none yet, or it stayed behind in a parent
                self._process = os.getpid()
                watching = threading.Thread(target=self._watch, name="watchdog", daemon=True)
                watching.start()
                atexit.register(self._end, watching)
            outer = self._tasks.get(thread)
            self._tasks[thread] = task
        try:
            yield
        finally:
            with self._lock:
                if outer is None:
                    del self._tasks[thread]
                else:
                    spent, grown = time.clock_gettime(clock) - task.began, _resident() - task.resident
                    self._tasks[thread] = msgspec.structs.replace(
                        outer, began=outer.began + spent, resident=outer.resident + max(0.0, grown)
                    )

    def _watch(self) -> None:
        while not self._ending.wait(_LOOK):
            with self._lock:
                for task in self._tasks.values():
                    bounds = task.bounds
                    if time.clock_gettime(task.clock) - task.began > bounds.seconds:
                        task.exceeded(f"took more than {bounds.seconds:g} s")
                    elif _resident() - task.resident > bounds.megabytes:
                        task.exceeded(f"needed more than {bounds.megabytes:g} MB")

    def _end(self, watching: threading.Thread) -> None:
        """With the process. A thread that the interpreter stops midway keeps alive what its modules hold, and DuckDB says so."""
        self._ending.set()
        watching.join()


def _resident() -> float:
    """The megabytes of memory that this process has; 0 where the system does not say."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE / 1e6
    except OSError:
        return 0.0
