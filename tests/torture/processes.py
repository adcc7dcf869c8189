"""Processes below this one, whoever their parent is by now: none of them is left when a torture ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2): an orphan below this process becomes its child


def adopt_orphans() -> None:
    """Descendants of this process stay its descendants, also when what started them is gone. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(pid: int) -> list[int]:
    """All descendants of a process."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    below = [pid]
    while below:
        for child in parents.get(below.pop(), []):
            found.append(child)
            below.append(child)
    return found


def is_alive(pid: int) -> bool:
    """Whether it runs; one that has ended but was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def end_all(seconds: float = 20) -> list[int]:
    """kill -9 of everything below this process, also what is stopped; what is left after `seconds`."""
    deadline = time.monotonic() + seconds
    while (left := children(os.getpid())) and time.monotonic() < deadline:
        signal_all(left, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.05)
    return left
