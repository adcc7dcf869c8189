"""A server process of the tests: started, waited for, stopped or killed, and started again on the same port."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.services.leash import hold

ROOT = Path(__file__).resolve().parents[2]


class ServiceMissingError(Exception):
    """What a server needs is not on this machine: a test that wants it is skipped, with this reason."""


def cache_directory() -> Path:
    """Where what was fetched is kept between runs: HEADRACE_CACHE, or `.cache` in the repository."""
    return Path(os.environ.get("HEADRACE_CACHE", ROOT / ".cache"))


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different, and none that the system gives to a connection by itself.

    While a server is down its clients try to connect: from a port of that range one may come to itself, and hold it.
    """
    with ExitStack() as held:
        found: set[int] = set()
        while len(found) < count:
            candidate = _dice.randrange(_FIRST_PORT, _first_given())
            with suppress(OSError):
                one = held.enter_context(socket.socket())
                one.bind(("127.0.0.1", candidate))
                found.add(candidate)
        return list(found)


_FIRST_PORT = 10_000
_dice = random.SystemRandom()


def _first_given() -> int:
    """The lowest port that the system gives to a connection."""
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    lowest = int(given.read_text().split()[0]) if given.exists() else 32_768
    return lowest if lowest > _FIRST_PORT + 1_000 else 32_768


class ServerProcess:
    """One command, its output in `log_file`, and `answers()` that says whether it can be used."""

    def __init__(self, name: str, command: list[str], log_file: Path, answers: Callable[[], bool]) -> None:
        self.name = name
        self._command = command
        self._log_file = log_file
        self._answers = answers
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, seconds: float = 60) -> None:
        """Starts it, and returns once it answers; RuntimeError with the end of its output if it does not."""
        if self._process is not None:
            raise RuntimeError(f"{self.name} runs already")
        hold()
        with self._log_file.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
            )
        deadline = time.monotonic() + seconds
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = self._log_file.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} did not come up within {seconds} s:\n{tail}")
            time.sleep(0.1)

    def stop(self, *, seconds: float = 30) -> None:
        """Asks it to end, and kills it if it does not."""
        self._end(signal.SIGTERM, seconds)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL, 10)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, such as SIGSTOP: alive, and silent."""
        assert self._process is not None
        self._process.send_signal(number)

    def restart(self) -> None:
        """Starts it again, on the same data and port."""
        self.kill()
        self.start()

    def _end(self, number: signal.Signals, seconds: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
