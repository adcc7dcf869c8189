"""What `headrace dlq replay` is about to append, written down before it does.

A command that is killed between the log and the table of letters leaves this file behind. The next one looks into the
log for what was appended, takes those letters out of the table, and sends none of them again.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from connectors.errors import HeadraceError, Transient
from connectors.log import Log
from connectors.log.seeking import between, ends


class Intent(msgspec.Struct, frozen=True):
    """The letters, by the request id that each is sent again under, and where the partitions of the log ended before."""

    log: str
    ends: dict[int, int]
    letters: dict[str, list[Any]]


class Journal:
    """The file in a data directory. Its user holds `alone`."""

    def __init__(self, data: Path) -> None:
        self._file = data / "state" / "replay.json"

    def write(self, intent: Intent) -> None:
        """On the disk when it returns."""
        new = self._file.with_suffix(".new")
        try:
            with new.open("wb") as out:
                out.write(msgspec.json.encode(intent))
                out.flush()
                os.fsync(out.fileno())
            new.replace(self._file)
            _sync(self._file.parent)
        except OSError as exc:
            raise HeadraceError(f"writing {self._file}: {exc.strerror}", remedy="free some room") from exc

    def clear(self) -> None:
        """What was to be appended is, and its letters are gone."""
        self._file.unlink(missing_ok=True)

    def appended(self, log: Callable[[], Log]) -> list[list[Any]] | None:
        """The letters that a command which was killed had appended to the log; None where none was killed.

        HeadraceError where the log cannot tell any more.
        """
        try:
            intent = msgspec.json.decode(self._file.read_bytes(), type=Intent)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as exc:
            raise HeadraceError(f"{self._file} is damaged: {exc}", remedy="see docs/operations.md") from exc
        opened = log()
        if opened.identity != intent.log:
            return []  # that log is gone, and what was appended with it
        return list(_found(opened, intent, self._file))


def _found(log: Log, intent: Intent, file: Path) -> Iterator[list[Any]]:
    seen: set[str] = set()
    for partition, end in ends(log).items():
        try:
            for _, record in between(log, partition, intent.ends.get(partition, 0), end):
                if record.replay is not None and record.request_id in intent.letters:
                    seen.add(record.request_id)
        except Transient:
            raise
        except HeadraceError as exc:
            raise HeadraceError(
                f"a replay was interrupted, and the log cannot tell any more which letters it had sent: {exc.what}",
                remedy=f"look whether they are in their destinations, drop those that are, then remove {file}",
            ) from exc
    yield from (intent.letters[request] for request in sorted(seen))


@contextmanager
def alone(data: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """One command at a time takes letters out; `waiting` is called where another is at it."""
    file = data / "state" / "dead_letters.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
