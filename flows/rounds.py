"""When the rounds of the lake's maintenance (`flows.upkeep`) are due: the dataflow's supervisor starts a process for each."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from flows.config import Config
from flows.lake_tables import lake_tables


class Rounds:
    """Starts the rounds of a running dataflow: `tick` often, `stop` at the end."""

    def __init__(self, config: Config, file: Path, text: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`text` is a file with what `file` held when `config` was accepted."""
        rules = [table.settings.maintenance for table in lake_tables(config)[:-1]]
        every = [rule.every.total_seconds() for rule in rules if rule.enabled]
        self._every = min(every, default=0.0)
        self._command = [sys.executable, "-m", "flows.upkeep", "--config", str(file), "--text", str(text)]
        self._command += ["--parent", str(os.getpid())]
        self._clock = clock
        self._due = clock() + self._every
        self._running: subprocess.Popen[bytes] | None = None

    def tick(self) -> None:
        """Starts a round when one is due and none runs."""
        if self._running is not None and self._running.poll() is not None:
            self._running = None
        if self._every and self._running is None and self._clock() >= self._due:
            self._due = self._clock() + self._every
            self._running = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        """Ends a round that runs: what it had not committed is as if it had not begun."""
        if self._running is not None and self._running.poll() is None:
            self._running.kill()
            self._running.wait()
        self._every = 0.0
