"""`headrace` as a person has it: a process with arguments, an environment and a working directory."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3

DEADLINE = 60.0  # seconds: for what should take one or two, on a machine that is busy
HEADRACE = (sys.executable, "-m", "headrace")


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what would change headrace's mind."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return kept | {"PYTHONUNBUFFERED": "1"} | more


def run(
    *arguments: str | Path,
    cwd: Path,
    env: dict[str, str] | None = None,
    stdin: bytes | None = None,
) -> subprocess.CompletedProcess[str]:
    """A finished `headrace …`."""
    done = subprocess.run(
        [*HEADRACE, *map(str, arguments)],
        cwd=cwd,
        env=environment(**(env or {})),
        input=stdin,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def ndjson(source: str, count: int) -> bytes:
    """Events of a source, numbered from 0."""
    return b"".join(b'{"source": "%s", "event": {"n": %d}}\n' % (source.encode(), n) for n in range(count))


def wait_for(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """The first true value of `condition`."""
    end = time.monotonic() + deadline
    while True:
        if value := condition():
            return value
        assert time.monotonic() < end, f"{what}: not within {deadline:.0f} s"
        time.sleep(0.05)


class Up:
    """A running `headrace up` (or `serve`, `run`), its place and its credentials."""

    def __init__(self, directory: Path, command: Sequence[str]) -> None:
        self.directory = directory
        self.errors = directory / "errors.log"
        self.output = directory / "output.log"
        with self.errors.open("w") as errors, self.output.open("w") as output:
            self.process = subprocess.Popen(
                [*HEADRACE, *command], cwd=directory, env=environment(), stdout=output, stderr=errors, process_group=0
            )

    def wait_until_ready(self) -> None:
        def look() -> re.Match[str] | None:
            assert self.process.poll() is None, self.errors.read_text()
            return re.search(r"^ready (\S+)", self.output.read_text(), re.MULTILINE)

        self.url = wait_for(look, "a ready line").group(1)

    def descendants(self) -> dict[int, str]:
        """The processes below it: pid -> command line."""
        below, found = [self.process.pid], {}
        while below:
            parent = below.pop()
            try:
                children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            except FileNotFoundError:
                continue
            for child in map(int, children):
                below.append(child)
                found[child] = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


class Place:
    """A directory that `headrace init` has been run in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        made = run("init", directory, "--json", cwd=directory)
        assert made.returncode == 0, made.stderr
        self.made: dict[str, str] = json.loads(made.stdout)
        self.config = Path(self.made["config"])

    @contextmanager
    def running(self, *command: str) -> Iterator[Up]:
        """`headrace up --port 0`, or another command, until the block ends."""
        up = Up(self.directory, command or ("up", "--port", "0", "--workers", "1"))
        try:
            up.wait_until_ready()
            yield up
        finally:
            if up.process.poll() is None:
                up.stop()

    def post(self, url: str, body: bytes, **headers: str) -> urllib3.BaseHTTPResponse:
        named = {
            "Authorization": f"Bearer {self.made['token']}",
            "X-Stream-Id": self.made["stream_id"],
            "Content-Type": "application/json",
        }
        return urllib3.request("POST", f"{url}/v1/streams/ingest", body=body, headers=named | headers, timeout=20)

    def rows(self, *columns: str) -> list[dict[str, Any]]:
        """What has landed; nothing yet is no error."""
        import headrace
        from headrace.lake import NothingLanded

        try:
            table = headrace.table(self.made["stream"], config=self.config, columns=columns or None)
        except NothingLanded:
            return []
        return table.to_pylist()

    def wait_for_rows(self, count: int) -> list[dict[str, Any]]:
        return wait_for(lambda: len(rows := self.rows()) >= count and rows, f"{count} rows")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Up]]:
    """One `headrace up` for a whole file of tests: they tell their events apart by `source`."""
    place = Place(tmp_path_factory.mktemp("served"))
    with place.running() as up:
        yield place, up
