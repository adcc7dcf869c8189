"""What a test run has started ends with it, however it ends: killed by `timeout`, too, with no time to see to that itself.

A process beside the run holds the end of a pipe. When the other end is gone, so is the run, and all that carries the run's
mark in its environment is killed: servers, dataflows, and what these have started in turn. Linux only; elsewhere this does
nothing.

    python -m tests.services.leash MARK < pipe
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

_MARK = "TESTS_OF_HEADRACE"
_ROUNDS = 5  # of looking: what is found may just be starting something
_PAUSE = 0.2  # seconds

_held: dict[int, int] = {}  # by process, the end of the pipe that it holds


def hold() -> None:
    """From here on, what this process starts ends with it. Once is enough; a process that was forked asks for itself."""
    if sys.platform != "linux" or os.getpid() in _held:
        return
    mark = uuid4().hex
    read, write = os.pipe()
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.services.leash", mark]
    # A group of its own: `timeout` ends that of the run. Without a mark, that of the run which started this one neither: it
    # is the last to go.
    unmarked = {name: value for name, value in os.environ.items() if name != _MARK}
    subprocess.Popen(command, stdin=read, stdout=subprocess.DEVNULL, cwd=root, start_new_session=True, env=unmarked)
    os.close(read)
    os.environ[_MARK] = mark
    _held[os.getpid()] = write


def main() -> None:
    """Waits for the end of the run, and ends what it has left."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    for _ in range(_ROUNDS):
        for pid in marked(sys.argv[1]):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE)


def marked(mark: str) -> list[int]:
    """The processes that were started with this mark in their environment, whoever their parent is by now."""
    sought, found = f"{_MARK}={mark}".encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if sought in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


if __name__ == "__main__":
    main()
