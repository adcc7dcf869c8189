"""`headrace up`: the gateway and the dataflow as child processes, restarted when they die, stopped together.

Each child is a `headrace` command in a process group of its own, so that a terminal's Ctrl-C is handled once, here.
A child holds the read end of a pipe whose other end only this process has: however this process ends, kill -9
included, the pipe closes and the child stops.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType

from connectors.errors import HeadraceError
from connectors.logger import get_logger

READY = "ready"
"""A child's line on stdout that begins with this word says that it works; what follows says where."""

FOLLOW_STDIN = {"HEADRACE_FOLLOWS_STDIN": "1"}
"""The environment of a child that is to stop when its stdin, a pipe from its parent, ends."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds before a dead child is started again; doubles each time
_HEALTHY = 60.0  # seconds of life after which a death counts as a first one
_STOP_DEADLINE = 40.0  # seconds a child has to stop cleanly: the dataflow commits what it holds
_LEFT_DEADLINE = 20.0  # seconds that processes of a child have which outlive it: a request under way is answered

_log = get_logger()


class Part:
    """One child: `python -m headrace` with its `arguments`; `where` is what its last `ready` line went on to say."""

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self.name = name
        self.where = ""
        self.is_ready = False
        self.process: subprocess.Popen[str] | None = None
        self._ending = threading.Thread()
        self.started = 0.0
        self.due: float | None = 0.0  # when to start; None while it runs
        self.pause = _FIRST_PAUSE
        self._arguments = arguments

    def start(self, events: queue.SimpleQueue[tuple[str, Part | None]]) -> None:
        """Starts the child and threads that turn its output and its end into events: `ready`, `exit`."""
        self.due, self.started = None, time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headrace", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
            env=os.environ | FOLLOW_STDIN,
        )
        listening = threading.Thread(target=self._listen, args=(self.process, events), daemon=True)
        listening.start()
        self._ending = threading.Thread(target=self._wait_for_all, args=(self.process, listening, events), daemon=True)
        self._ending.start()

    def plan_restart(self) -> float:
        """Sets when to start again; returns the pause in seconds."""
        if time.monotonic() - self.started > _HEALTHY:
            self.pause = _FIRST_PAUSE
        pause, self.pause = self.pause, min(self.pause * 2, _LONGEST_PAUSE)
        self.due = time.monotonic() + pause
        return pause

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Signals the child, where it runs."""
        self.due = None
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def wait(self, seconds: float) -> None:
        """Waits for the child's end, and for that of all its processes; past `seconds`, kills its whole group."""
        if self.process is None:
            return
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            _log.warning("did not stop in time and was killed; what it had not committed is read again", part=self.name)
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._ending.join()

    def _listen(self, process: subprocess.Popen[str], events: queue.SimpleQueue[tuple[str, Part | None]]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == READY:
                self.where = rest
                events.put(("ready", self))
            else:
                sys.stdout.write(line)
                sys.stdout.flush()

    def _wait_for_all(
        self,
        process: subprocess.Popen[str],
        listening: threading.Thread,
        events: queue.SimpleQueue[tuple[str, Part | None]],
    ) -> None:
        """Tells of the end of the child once no process of its own is left; what is left too long is killed.

        All of them have its output, so while it is open its process group is there, and the number is no other's.
        """
        process.wait()
        listening.join(_LEFT_DEADLINE)
        if listening.is_alive():
            _log.error("processes of a part outlived it and are killed", part=self.name)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        events.put(("exit", self))


class Supervisor:
    """Runs parts until SIGINT or SIGTERM; a second signal ends them at once."""

    def __init__(self, parts: Sequence[Part], on_ready: Callable[[], None]) -> None:
        self._parts = parts
        self._on_ready = on_ready
        self._announced = False
        # A SimpleQueue's put may interrupt its get in the same thread, as a signal handler does.
        self._events: queue.SimpleQueue[tuple[str, Part | None]] = queue.SimpleQueue()

    def run(self) -> None:
        """Blocks until stopped; the parts stop in their order. Raises HeadraceError when one cannot start at all."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        try:
            while self._step():
                pass
        finally:
            self._stop_all()

    def _step(self) -> bool:
        for part in self._parts:
            if part.due is not None and time.monotonic() >= part.due:
                part.start(self._events)
        try:
            event, part_ = self._events.get(timeout=0.2)
        except queue.Empty:
            return True
        if part_ is None:
            return False
        if event == "ready":
            part_.is_ready = True
            if not self._announced and all(part.is_ready for part in self._parts):
                self._announced = True
                self._on_ready()
        elif event == "exit":
            self._ended(part_)
        return True

    def _ended(self, part: Part) -> None:
        assert part.process is not None
        code = part.process.returncode
        if not self._announced and code > 0:
            raise HeadraceError(f"the {part.name} could not start (exit code {code}); its reason stands above")
        pause = part.plan_restart()
        _log.error("a part ended; starting it again", part=part.name, code=code, pause_seconds=pause)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._events.put(("stop", None))
        signal.signal(signal.SIGINT, self._on_second_signal)
        signal.signal(signal.SIGTERM, self._on_second_signal)

    def _on_second_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        for part in self._parts:
            if part.process is not None and part.process.poll() is None:
                os.killpg(part.process.pid, signal.SIGKILL)

    def _stop_all(self) -> None:
        # One after the other: what the gateway has accepted until its end, the dataflow can still take along.
        for part in self._parts:
            part.stop()
            part.wait(_STOP_DEADLINE)


def follow_parent() -> None:
    """In a child of a supervisor: once that is gone, stop as if by SIGTERM, and by force if that is not enough."""
    if [os.environ.pop(name, None) for name in FOLLOW_STDIN] != [None]:
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()


def _stop_at_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_STOP_DEADLINE)
    os.killpg(0, signal.SIGKILL)
