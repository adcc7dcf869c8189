"""headrace as it is run: a project in a directory, its commands as child processes, and what they use."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.load import Request
from bench.servers import STREAM, session_seconds

READY_SECONDS = 120.0


class Running:
    """One `headrace` command that stays; `url` is what it said it was ready at."""

    def __init__(self, file: Path, *arguments: str) -> None:
        began = time.monotonic()
        with (file.parent / f"{arguments[0]}.log").open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "headrace", *arguments, "-c", str(file)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline().split() if selector.select(READY_SECONDS) else []
        self.ready_seconds = time.monotonic() - began
        if line[:1] != ["ready"]:
            self.stop()
            raise RuntimeError(f"`headrace {arguments[0]}` was not ready: {Path(errors.name).read_text()[-500:]}")
        self.url = line[1] if len(line) > 1 else ""

    def cpu_seconds(self) -> float:
        """What its living processes have used so far. Each part leads a session or group of its own."""
        return sum(session_seconds(session) for session in {os.getsid(pid) for pid in self.pids()})

    def pids(self, *, of: str = "") -> list[int]:
        """It and everything it has started; with `of`, those whose command line has this text."""
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
        found, waiting = [], [self._process.pid]
        while waiting:
            found.append(waiting.pop())
            waiting += parents.get(found[-1], [])
        return [pid for pid in found if of in _command(pid)]

    def resident_bytes(self, of: str) -> int:
        """The memory of the largest of its processes whose command line has this text."""
        return max((_resident(pid) for pid in self.pids(of=of)), default=0)

    def stop(self) -> None:
        """Ends it cleanly; all of it dies if that takes long."""
        pids = self.pids()
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            for pid in pids:
                if Path(f"/proc/{pid}").exists():
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def running(file: Path, *arguments: str) -> Iterator[Running]:
    """A command that stays, until the block ends."""
    command = Running(file, *arguments)
    try:
        yield command
    finally:
        command.stop()


def token(file: Path) -> str:
    """A new token for every stream of a project."""
    command = [sys.executable, "-m", "headrace", "token", "create", "--stream", "payments", "--json", "-c", str(file)]
    return str(json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["token"])


def ingest(secret: str, body: bytes) -> Request:
    """A request with NDJSON for the gateway."""
    headers = {"Content-Type": "application/x-ndjson", "X-Stream-Id": STREAM, "Authorization": f"Bearer {secret}"}
    return Request("/v1/streams/ingest", headers, body)


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Waits; RuntimeError where it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come within {seconds:g} s")
        time.sleep(0.05)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _resident(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
