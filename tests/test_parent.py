"""A child does not outlive its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import wait_for

CHILD = """
import os, signal, sys, time
from connectors.parent import die_with
signal.signal(signal.SIGTERM, signal.SIG_IGN)
parent = os.getpid()
if os.fork():
    time.sleep(60)
die_with(parent, signal.SIGTERM, within=0.2)
print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_a_child_deaf_to_the_signal_is_killed_when_nobody_else_is_left_to_do_it() -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        parent.kill()
        try:
            wait_for(lambda: not _runs(child), "the end of the child", 20)
        finally:
            if _runs(child):
                os.kill(child, signal.SIGKILL)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
