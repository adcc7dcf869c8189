"""A child process that does not outlive its parent, whichever way the parent ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Ends this process by the signal `number` when its parent, the process `parent`, ends; at once if it has already.

    Linux only; elsewhere this does nothing, and a table's fence has to do.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)
