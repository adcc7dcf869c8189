"""Runs the dataflow: starts its processes, starts one again when it dies, and stops them cleanly.

A partition of the log belongs to one process, and what is not committed is read again, so a process that dies is
replaced without the others' knowing. That is how a changed configuration is taken, too: all processes commit what they
have read and end, and others go on from there with the text that was checked.
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

from connectors.errors import ConfigError, HeadraceError
from connectors.logger import get_logger
from connectors.sinks.stdout.settings import EVENTS_FD
from connectors.whole import write_whole
from flows.config import Accepted, Refused, Watch
from flows.config.watch import ACCEPTED, SECONDS, accept_again
from flows.exits import EXIT_BOUNDS, EXIT_CLOCK, EXIT_CONFIG
from flows.rounds import Rounds

_log = get_logger()

_FLUSH_DEADLINE = 30.0  # seconds a clean stop waits for commits
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 15.0  # seconds before a dead process is started again; doubles each time
_HEALTHY = 60.0  # seconds of life after which a death counts as a first one


Events = queue.SimpleQueue[tuple[str, subprocess.Popen[str] | None]]
"""What a process has said, `exit`, or None's `stop`."""


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
        fall_back: Path | None = None,
    ) -> None:
        """`processes` is how many there are in all; `only` starts just that one (the others run on other hosts).

        `fall_back` has the text to start with where the file is wrong: this dataflow is one that is started again.
        """
        self._path = config
        self._accepted = accept_again(config, fall_back, files=True)
        self._before: Accepted | None = None  # what to go back to if the processes cannot start with what was accepted
        self._watch_file = Watch(config, self._accepted, files=True)
        self._processes = processes
        self._numbers = range(processes) if only is None else [only]
        self._drain = drain
        self._on_ready = on_ready
        # A SimpleQueue's put may interrupt its get in the same thread, as `stop` in a signal handler does.
        self._events: Events = queue.SimpleQueue()
        self._workers: dict[int, _Worker] = {}
        self._rounds: Rounds | None = None

    @property
    def data(self) -> Path:
        """The data directory."""
        return self._accepted.config.data

    def stop(self) -> None:
        """Asks for a clean stop; safe in a signal handler and from any thread."""
        self._events.put(("stop", None))

    def run(self) -> None:
        """Raises ConfigError when a process says that the configuration is wrong, HeadraceError when it cannot start."""
        lock = self._only_one()
        try:
            self._start()
            self._watch()
        finally:
            self._kill()
            lock.close()

    def _start(self) -> None:
        self._save(self._accepted.text)
        self._ready: set[int] = set()
        self._flushed: set[int] = set()
        self._deadline: float | None = None  # of a stop, or of a change of the configuration
        for number in self._numbers:
            self._workers[number] = _Worker(self._command(number), self._events)
        if 0 in self._numbers and not self._drain:  # one owner of the lake's maintenance among several hosts
            self._rounds = Rounds(self._accepted.config, self._path, self._text_file)

    def _kill(self) -> None:
        for worker in self._workers.values():
            worker.kill()
        if self._rounds is not None:
            self._rounds.stop()

    def _watch(self) -> None:
        self._announced = self._stopping = False
        look_at = 0.0
        while True:
            self._hear(*self._next())
            is_flushed = self._flushed >= set(self._workers)
            if self._deadline is not None and time.monotonic() > self._deadline and not is_flushed:
                _log.warning("ended before everything was committed; it is read again")
                is_flushed = True
            if is_flushed and (self._stopping or self._drain):
                return
            if is_flushed and self._deadline is not None:  # all that was read is committed: go on with what is new
                self._kill()
                self._start()
                _log.info("configuration taken", config_version=self._accepted.version)
            if self._deadline is None:
                if not self._drain and time.monotonic() >= look_at:
                    look_at = time.monotonic() + SECONDS
                    self._look()
                for worker in self._workers.values():
                    worker.start_again_when_due()
                if self._rounds is not None:
                    self._rounds.tick()

    def _hear(self, number: int | None, event: str) -> None:
        if event == "stop":
            self._stopping = True
            self._flush()
        elif number is None:
            return
        elif event == "ready":
            self._ready.add(number)
            if len(self._ready) == len(self._workers):
                self._before = None
                if not self._announced:
                    self._on_ready()
                self._announced = True
        elif event == "flushed":
            self._flushed.add(number)
        elif event == "exit":
            self._exited(number)

    def _next(self) -> tuple[int | None, str]:
        """What has happened, and to which worker: what one that was replaced says is of no interest any more."""
        try:
            event, process = self._events.get(timeout=0.2)
        except queue.Empty:
            return None, "tick"
        numbers = [number for number, worker in self._workers.items() if worker.process is process]
        return (numbers[0] if numbers else None), event

    def _look(self) -> None:
        """Takes the configuration file if it has changed and is right; says what is wrong with it if it is not."""
        found = self._watch_file.look()
        if isinstance(found, Refused):
            _log.error("the changed configuration is not taken; the old one stays", problems=found.reason)
        elif found is not None:
            self._before, self._accepted = self._accepted, found
            self._flush()

    def _flush(self) -> None:
        """Asks every process to commit what it has read."""
        if self._deadline is None:
            self._deadline = time.monotonic() + _FLUSH_DEADLINE
            for number, worker in self._workers.items():
                if not worker.terminate():
                    self._flushed.add(number)

    def _exited(self, number: int) -> None:
        worker = self._workers[number]
        code = worker.process.wait()
        if self._deadline is not None:
            self._flushed.add(number)
        elif code != EXIT_CONFIG:
            pause = worker.plan_restart(at_once=code in (EXIT_BOUNDS, EXIT_CLOCK))
            _log.error("a dataflow process ended; starting it again", process=number, code=code, pause_seconds=pause)
        elif self._before is None:
            raise ConfigError("the dataflow cannot start with this configuration; see above")
        else:
            _log.error("the dataflow cannot start with the changed configuration; the old one stays")
            self._accepted, self._before = self._before, None
            self._flush()
            self._flushed.add(number)

    def _command(self, number: int) -> list[str]:
        command = [sys.executable, "-m", "flows.worker", "--config", str(self._path), "--text", str(self._text_file)]
        command += ["--process", str(number), "--processes", str(self._processes), "--parent", str(os.getpid())]
        return [*command, "--drain"] if self._drain else command

    def _only_one(self) -> IO[str]:
        """Holds a lock for as long as this process lives: two dataflows on one data directory would fence each other."""
        directory = self._state
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = (directory / f"{min(self._numbers)}.lock").open("w")
        except OSError as exc:
            raise HeadraceError(f"the data directory {directory.parent} cannot be written: {exc.strerror}") from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            lock.close()
            raise HeadraceError(
                f"another dataflow already runs on {directory.parent}", remedy="stop it first, or use another `data`"
            ) from exc
        return lock

    @property
    def _state(self) -> Path:
        return self.data / "state"

    @property
    def _text_file(self) -> Path:
        """What the processes of this host start with. Other hosts' may share the directory."""
        return self._state / (ACCEPTED if 0 in self._numbers else f"{min(self._numbers)}.{ACCEPTED}")

    def _save(self, text: bytes) -> None:
        file = self._text_file
        try:
            write_whole(file, text)
        except OSError as exc:
            raise HeadraceError(f"writing {file}: {exc.strerror}", remedy="make room, or mend its permissions") from exc


@cache
def _stdout() -> int:
    """A second descriptor of this process's stdout: a child's own 1 is something else."""
    return os.dup(1)


class _Worker:
    """One child process and its restarts."""

    def __init__(self, command: list[str], events: Events) -> None:
        self._command = command
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
            self._events.put((line.strip(), process))
        process.wait()
        self._events.put(("exit", process))

    def plan_restart(self, *, at_once: bool = False) -> float:
        """Sets when to start again and returns the pause in seconds; `at_once` for an end that brings things forward."""
        if at_once:
            self._due = time.monotonic()
            return 0.0
        if time.monotonic() - self._started > _HEALTHY:
            self._pause = _FIRST_PAUSE
        pause, self._pause = self._pause, min(self._pause * 2, _LONGEST_PAUSE)
        self._due = time.monotonic() + pause
        return pause

    def start_again_when_due(self) -> None:
        if self._due is not None and time.monotonic() >= self._due:
            self._due = None
            self.process = self._start()

    def terminate(self) -> bool:
        """Asks the process to commit and be `flushed`; False where there is none, and so nothing is held."""
        if self._due is not None:
            self._due = None
            return False
        if self.process.poll() is None:
            self.process.terminate()
        return True

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
