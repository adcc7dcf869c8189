"""The newest whole generation of each lookup, for all threads of the process.

One thread looks at the files twice a second. A file that has changed, and then stayed as it was from one look to the
next, is read into a new table beside the old; only a table that is whole takes the old one's place, and pipelines take
it at their next batch. What cannot be read is reported once, and the old table stays.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from functools import cache
from itertools import count
from typing import NamedTuple
from weakref import WeakValueDictionary

from connectors.logger import get_logger
from connectors.telemetry import LOOKUP_RELOADS, LOOKUP_ROWS_IGNORED
from flows.lookups.geo import GeoTable
from flows.lookups.keyed import KeyedTable
from flows.lookups.reading import read_keyed
from flows.lookups.settings import Lookup
from flows.lookups.table import LookupFailed

LARGEST = 2**30
"""Bytes of the largest file that is taken."""

_LOOK = 0.5  # seconds between looks at the files
_PATIENCE = 10.0  # seconds that a first reading waits for a file that is being written

_log = get_logger()


class Generation(NamedTuple):
    """A table, and its number: each table of the process has another."""

    number: int
    table: KeyedTable | GeoTable


class Stamp(NamedTuple):
    """What tells that a file has changed, written over in place or replaced."""

    modified: int
    changed: int
    size: int
    inode: int


class Watched:
    """The lookup called `name`. `current` never goes away and never goes back."""

    def __init__(self, name: str, settings: Lookup) -> None:
        """Reads the file, with some patience for one that is being written. Raises LookupFailed."""
        self.name = name
        self.settings = settings
        deadline = time.monotonic() + _PATIENCE
        while (read := self._read()) is None:
            if time.monotonic() > deadline:
                raise self._failed("it is being written to all the time")
            time.sleep(_LOOK / 5)
        stamp, self.current = read
        self._seen: Stamp = stamp
        self._tried: Stamp | None = stamp
        self._absent = 0

    def look(self) -> None:
        """Takes the file anew where it has changed since, and was whole and the same at two looks; else does nothing."""
        try:
            stamp = _stamp(self.settings)
        except OSError as exc:
            self._absent += 1
            if self._absent == 2:  # some programs remove a file before they write it
                self._refused(self._failed(exc.strerror or "it cannot be read"))
            return
        self._absent = 0
        steady = stamp == self._seen
        self._seen = stamp
        if not steady or stamp == self._tried:
            return
        self._tried = stamp
        try:
            read = self._read()
        except LookupFailed as exc:
            self._refused(exc)
            return
        if read is None:
            self._tried = None  # it changed meanwhile
            return
        self.current = read[1]
        LOOKUP_RELOADS.labels(self.name, "taken").inc()
        _log.info("a lookup is taken anew", lookup=self.name, rows=len(self.current.table))

    def _refused(self, why: LookupFailed) -> None:
        LOOKUP_RELOADS.labels(self.name, "refused").inc()
        _log.error("a lookup's new file is refused; what was read before stays", lookup=self.name, reason=str(why))

    def _read(self) -> tuple[Stamp, Generation] | None:
        """The file as it stands; None where it was written to meanwhile. Raises LookupFailed."""
        try:
            before = _stamp(self.settings)
            if before.size > LARGEST:
                raise self._failed(f"it has {before.size:,} bytes; at most {LARGEST:,} are read")
            content = self.settings.file.read_bytes()
            if _stamp(self.settings) != before or len(content) != before.size:
                return None
        except OSError as exc:
            raise self._failed(exc.strerror or "it cannot be read") from exc
        try:
            return before, Generation(next(_numbers), self._table(content))
        except LookupFailed as exc:
            raise self._failed(exc.what, exc.remedy) from exc

    def _table(self, content: bytes) -> KeyedTable | GeoTable:
        if self.settings.format == "mmdb":
            return GeoTable(content)
        read = read_keyed(self.settings, content)
        for reason, rows in (("no_key", read.unkeyed), ("repeated_key", read.repeated)):
            LOOKUP_ROWS_IGNORED.labels(self.name, reason).inc(rows)
        if read.unkeyed or read.repeated:
            what = (
                "a lookup has rows that are left out: those without a key, and of those with the same all but the last"
            )
            _log.warning(what, lookup=self.name, without_key=read.unkeyed, repeated=read.repeated)
        return read.table

    def _failed(self, what: str, remedy: str = "") -> LookupFailed:
        return LookupFailed(f"the lookup '{self.name}' ({self.settings.file}) cannot be taken: {what}", remedy=remedy)


def watch(name: str, settings: Lookup) -> Watched:
    """The lookup, read if nobody in this process has it yet; it is looked after for as long as it is held.

    Raises LookupFailed where the file cannot be taken.
    """
    with _lock:
        watched = _all.get((name, settings))
        if watched is None:
            watched = _all[name, settings] = Watched(name, settings)
        _begin_watching()
        return watched


_lock = threading.Lock()
_all: WeakValueDictionary[tuple[str, Lookup], Watched] = WeakValueDictionary()
_numbers = count(1)
_end = threading.Event()


@cache
def _begin_watching() -> None:
    """Starts the thread that looks at the files; it ends before the interpreter, whose modules it would hold."""
    thread = threading.Thread(target=_watch, name="lookups", daemon=True)
    thread.start()
    atexit.register(_end_watching, thread)


def _end_watching(thread: threading.Thread) -> None:
    _end.set()
    thread.join(_PATIENCE)


def _watch() -> None:
    while not _end.wait(_LOOK):
        _look_at_all()


def _look_at_all() -> None:
    for watched in list(_all.values()):
        watched.look()


def _stamp(settings: Lookup) -> Stamp:
    found = os.stat(settings.file)
    return Stamp(found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
