"""`headrace up` as a child of the demo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from connectors.errors import HeadraceError
from headrace.supervisor import FOLLOW_STDIN, READY

_READY_DEADLINE = 60.0  # seconds


class Failed(HeadraceError):
    """The demo did not show what it should."""


@contextmanager
def running(config: Path, log: Path, *, port: int) -> Iterator[str]:
    """`headrace up` for as long as the block lasts; gives its URL. What it says goes to `log`."""
    from gateway.port import reserve

    try:
        reserve("127.0.0.1", port)[1].close()
    except HeadraceError:
        port = 0
    command = [sys.executable, "-m", "headrace", "up", "-c", str(config), "--port", str(port)]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            process_group=0,
            env=os.environ | FOLLOW_STDIN,
        )
    try:
        yield _url(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
    if process.returncode != 0:
        raise Failed(f"headrace did not stop cleanly (exit code {process.returncode}); see {log}")


def _url(process: subprocess.Popen[str], log: Path) -> str:
    output: IO[str] | None = process.stdout
    assert output is not None
    watchdog = signal.signal(signal.SIGALRM, lambda *_: process.kill())
    signal.setitimer(signal.ITIMER_REAL, _READY_DEADLINE)
    try:
        for line in output:
            if line.startswith(READY):
                return line.split()[1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, watchdog)
    raise Failed(f"headrace did not start; its last words:\n{''.join(log.read_text().splitlines(True)[-10:])}")
