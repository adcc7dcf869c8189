"""How far a partition of the log has been handed on, noted before every batch is.

The engine's state tells that too, of a second or two ago. This is written over in place and not synced, so that it costs
some microseconds: it outlives the process, and where the host went down it is not gone by. A clean stop syncs it.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from pathlib import Path

import msgspec

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class _At(msgspec.Struct, frozen=True):
    handed: int
    stopped: bool
    boot: str


class Position:
    """That of one partition, in `file`. Belongs to one thread. Methods raise OSError."""

    def __init__(self, file: Path, end: Callable[[], int]) -> None:
        """`end` gives the offset at which the partition ends: where the host went down, all may have been handed on."""
        self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        weakref.finalize(self, os.close, self._descriptor)
        text = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        self._length = len(text)
        self._boot = _boot()
        self.handed = 0 if not text else _read(text, self._boot, end)
        """No record at this offset or past it has been handed on by any process so far."""
        self._write(stopped=False)
        os.fsync(self._descriptor)

    def passes(self, offset: int) -> None:
        """Records below `offset` are about to be handed on."""
        if offset > self.handed:
            self.handed = offset
            self._write(stopped=False)

    def stops(self) -> None:
        """Nothing more is handed on by this process."""
        if not self._stopped:
            self._write(stopped=True)
            os.fsync(self._descriptor)

    def _write(self, *, stopped: bool) -> None:
        self._stopped = stopped
        text = msgspec.json.encode(_At(self.handed, stopped, self._boot))
        self._length = max(self._length, len(text))
        os.pwrite(self._descriptor, text.ljust(self._length), 0)


def noted(file: Path, end: Callable[[], int]) -> int | None:
    """What a `Position` in `file` begins with, as long as none has; None where none ever did. Raises OSError."""
    try:
        return _read(file.read_bytes(), _boot(), end)
    except FileNotFoundError:
        return None


def _read(text: bytes, boot: str, end: Callable[[], int]) -> int:
    try:
        found = msgspec.json.decode(text, type=_At)
    except msgspec.DecodeError:
        return end()
    return found.handed if found.stopped or found.boot == boot else max(found.handed, end())


def _boot() -> str:
    """What tells this start of the host from all others; where that cannot be known, this process from all others."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return os.urandom(16).hex()
