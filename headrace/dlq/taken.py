"""Whether the dataflow that runs has taken the configuration as its file is now.

One that has not would send the events through what was before, and they would be dead letters again.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable
from pathlib import Path

from connectors.errors import HeadraceError
from flows.config import Config
from flows.config.watch import ACCEPTED

_SECONDS = 60.0  # a running dataflow looks four times a second, and commits what it holds before it changes


def wait_until_taken(config: Config, waiting: Callable[[], None], *, seconds: float = _SECONDS) -> None:
    """Returns once every dataflow of this data directory that runs has the file's text; `waiting` is called once where
    one has not. HeadraceError where it does not take it."""
    deadline, told = time.monotonic() + seconds, False
    while not _is_taken(config):
        if not told:
            waiting()
            told = True
        if time.monotonic() > deadline:
            raise HeadraceError(
                f"the dataflow that runs has not taken {config.file} as it is now; nothing was sent",
                remedy="its log says why; mend the file, or stop the dataflow and replay without it",
            )
        time.sleep(0.1)


def _is_taken(config: Config) -> bool:
    text = config.file.read_bytes()
    state = config.data / "state"
    for lock in state.glob("*.lock"):
        if lock.stem.isdigit() and _is_held(lock):
            name = ACCEPTED if lock.stem == "0" else f"{lock.stem}.{ACCEPTED}"
            try:
                if (state / name).read_bytes() != text:
                    return False
            except FileNotFoundError:
                return False  # it is starting
    return True


def _is_held(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
