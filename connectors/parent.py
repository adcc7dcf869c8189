"""A child process that does not outlive its parent, whichever way the parent ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LOOK_SECONDS = 1.0


def die_with(parent: int, number: signal.Signals = signal.SIGKILL, *, within: float | None = None) -> None:
    """Ends this process by the signal `number` when its parent, the process `parent`, ends; at once if it has already.

    Where it still lives `within` seconds of that, it is killed: nobody else is left to do so. Linux only; elsewhere this
    does nothing, and a table's fence has to do.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)
    if within is not None:
        threading.Thread(target=_outlive, args=(parent, within), name="outlive-parent", daemon=True).start()


def _outlive(parent: int, seconds: float) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)
