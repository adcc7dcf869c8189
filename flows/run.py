"""Runs the dataflow: starts its processes, starts one again when it dies, and stops them cleanly.

A partition of the log belongs to one process, and what is not committed is read again, so a process that dies is
replaced without the others' knowing.
"""

from __future__ import annotations

import fcntl
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import IO

import structlog

from connectors.errors import ConfigError, HeadraceError
from connectors.sinks.stdout import EVENTS_FD
from flows.config import Config, load
from flows.upkeep import Rounds
from flows.worker import EXIT_CONFIG

_log = structlog.get_logger()

_FLUSH_DEADLINE = 30.0  # seconds a clean stop waits for commits
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 15.0  # seconds before a dead process is started again; doubles each time
_HEALTHY = 60.0  # seconds of life after which a death counts as a first one


class Dataflow:
    """The processes of one host. `run` blocks until `stop` is called, or, with `drain`, until all is committed."""

    def __init__(
        self,
        config: Path,
        *,
        processes: int = 1,
        only: int | None = None,
        drain: bool = False,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """`processes` is how many there are in all; `only` starts just that one (the others run on other hosts)."""
        self._path = config
        self._config: Config = load(config, files=True)
        self._processes = processes
        self._numbers = range(processes) if only is None else [only]
        self._drain = drain
        self._on_ready = on_ready
        # A SimpleQueue's put may interrupt its get in the same thread, as `stop` in a signal handler does.
        self._events: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
        self._workers: dict[int, _Worker] = {}
        # One owner of the lake's maintenance: of several hosts the one with process 0.
        self._rounds = Rounds(self._config, config) if 0 in self._numbers and not drain else None

    def stop(self) -> None:
        """Asks for a clean stop; safe in a signal handler and from any thread."""
        self._events.put(("stop", -1))

    def run(self) -> None:
        """Raises ConfigError when a process says that the configuration is wrong, HeadraceError when it cannot start."""
        lock = self._only_one()
        try:
            for number in self._numbers:
                self._workers[number] = _Worker(self._command(number), number, self._events)
            self._watch()
        finally:
            for worker in self._workers.values():
                worker.kill()
            if self._rounds is not None:
                self._rounds.stop()
            lock.close()

    def _watch(self) -> None:
        ready: set[int] = set()
        flushed: set[int] = set()
        deadline: float | None = None
        while True:
            try:
                event, number = self._events.get(timeout=0.2)
            except queue.Empty:
                event, number = "tick", -1
            if event == "ready" and number not in ready:
                ready.add(number)
                if len(ready) == len(self._workers):
                    self._on_ready()
            elif event == "flushed":
                flushed.add(number)
            elif event == "stop" and deadline is None:
                deadline = time.monotonic() + _FLUSH_DEADLINE
                for worker in self._workers.values():
                    worker.terminate()
            elif event == "exit":
                self._exited(number, stopping=deadline is not None)
            if (self._drain or deadline is not None) and flushed >= set(self._workers):
                return
            if deadline is not None and time.monotonic() > deadline:
                _log.warning("stopped before everything was committed; it is read again at the next start")
                return
            for worker in self._workers.values():
                worker.start_again_when_due(allowed=deadline is None)
            if self._rounds is not None and deadline is None:
                self._rounds.tick()

    def _exited(self, number: int, *, stopping: bool) -> None:
        worker = self._workers[number]
        code = worker.process.wait()
        if code == EXIT_CONFIG:
            raise ConfigError("the dataflow cannot start with this configuration; see above")
        if stopping:
            self._events.put(("flushed", number))
            return
        pause = worker.plan_restart()
        _log.error("a dataflow process ended; starting it again", process=number, code=code, pause_seconds=pause)

    def _command(self, number: int) -> list[str]:
        command = [sys.executable, "-m", "flows.worker", "--config", str(self._path)]
        command += ["--process", str(number), "--processes", str(self._processes), "--parent", str(os.getpid())]
        return [*command, "--drain"] if self._drain else command

    def _only_one(self) -> IO[str]:
        """Holds a lock for as long as this process lives: two dataflows on one data directory would fence each other."""
        directory = self._config.data / "state"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = (directory / f"{min(self._numbers)}.lock").open("w")
        except OSError as exc:
            raise HeadraceError(f"the data directory {self._config.data} cannot be written: {exc.strerror}") from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            lock.close()
            raise HeadraceError(
                f"another dataflow already runs on {self._config.data}", remedy="stop it first, or use another `data`"
            ) from exc
        return lock


@cache
def _stdout() -> int:
    """A second descriptor of this process's stdout: a child's own 1 is something else."""
    return os.dup(1)


class _Worker:
    """One child process and its restarts."""

    def __init__(self, command: list[str], number: int, events: queue.SimpleQueue[tuple[str, int]]) -> None:
        self._command = command
        self._number = number
        self._events = events
        self._pause = _FIRST_PAUSE
        self._due: float | None = None
        self.process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        self._started = time.monotonic()
        # A group of its own: a terminal's Ctrl-C is the supervisor's to hand on, once.
        # Its stdout speaks to us; events of the destination `stdout` go to ours, by a descriptor that it inherits.
        events = _stdout()
        process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            pass_fds=[events],
            env=os.environ | {EVENTS_FD: str(events)},
        )
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        return process

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._events.put((line.strip(), self._number))
        process.wait()
        self._events.put(("exit", self._number))

    def plan_restart(self) -> float:
        """Sets when to start again and returns the pause in seconds."""
        if time.monotonic() - self._started > _HEALTHY:
            self._pause = _FIRST_PAUSE
        pause, self._pause = self._pause, min(self._pause * 2, _LONGEST_PAUSE)
        self._due = time.monotonic() + pause
        return pause

    def start_again_when_due(self, *, allowed: bool) -> None:
        if self._due is not None and allowed and time.monotonic() >= self._due:
            self._due = None
            self.process = self._start()

    def terminate(self) -> None:
        if self._due is not None:  # dead, and waiting to be started: nothing is held
            self._due = None
            self._events.put(("flushed", self._number))
        elif self.process.poll() is None:
            self.process.terminate()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
