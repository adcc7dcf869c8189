"""Events as lines of JSON on the standard output of the command that runs the dataflow.

The processes of a dataflow speak to their supervisor on their own stdout, so events go to the descriptor that it hands
down (`EVENTS_FD`); where there is none, as under Bytewax's own command, to stdout. A line is written whole: a lock
keeps the processes apart, since what a pipe takes at once is less than an event may be.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from connectors.errors import Transient
from connectors.sinks.connection import Refusal
from connectors.sinks.documents import Documents
from connectors.sinks.stdout.settings import EVENTS_FD, StdoutDestination


class StdoutEndpoint:
    """This process's way to that standard output (implements `Endpoint`). `lock` is a file that its processes share."""

    def __init__(self, settings: StdoutDestination, lock: Path) -> None:
        self._lock = lock
        self.max_rows = settings.batch_rows
        self.max_bytes = settings.batch_bytes

    def connect(self) -> StdoutConnection:
        """See `Endpoint.connect`."""
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise Transient(f"{self._lock} cannot be opened: {exc.strerror}") from exc
        return StdoutConnection(int(os.environ.get(EVENTS_FD, "1")), lock)


class StdoutConnection:
    """Writes to a descriptor (implements `Connection`), holding the lock meanwhile."""

    def __init__(self, descriptor: int, lock: int) -> None:
        self._descriptor = descriptor
        self._lock = lock
        self._documents = Documents()

    def send(self, stream: str, rows: pa.Table) -> Sequence[Refusal]:
        """See `Connection.send`: returns once the descriptor has taken the lines."""
        lines = self._documents.of(stream, rows).column("document").to_pylist()
        rest = memoryview("".join(f"{line}\n" for line in lines).encode())
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as exc:
            raise Transient(f"stdout cannot be written: {exc.strerror}") from exc
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        return ()

    def close(self) -> None:
        """See `Connection.close`; stdout stays open."""
        os.close(self._lock)
        self._documents.close()
