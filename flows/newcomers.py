"""A stream that the configuration file names and this process does not know yet: its gateway was faster.

Such an event is not for the dead letters. The process ends without taking it, and the one that takes its place with the
changed configuration (`flows.run`) reads it again.
"""

from __future__ import annotations

from pathlib import Path

from connectors.errors import ConfigError, HeadraceError
from flows.config import Config, accept


class NewStream(HeadraceError):
    """The configuration has changed and is about to be taken: stop, and start with it."""


class Newcomers:
    """Looks into the configuration's file when an event comes of a stream that `config` does not have."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._signature: tuple[int, int] | None = None
        self._ids: frozenset[str] = frozenset()

    def meet(self, stream: str) -> None:
        """Raises NewStream if the file, as it is now, has the stream of this id."""
        signature = _sign(self._config.file)
        if signature != self._signature:
            self._signature, self._ids = signature, self._read()
        if stream in self._ids:
            raise NewStream(f"the changed configuration has a stream {stream} that is new")

    def _read(self) -> frozenset[str]:
        try:
            found = accept(self._config.file).config
        except ConfigError:  # broken: it will not be taken
            return frozenset()
        if (found.log, found.data) != (self._config.log, self._config.data):
            return frozenset()
        return frozenset(stream.id for stream in found.streams.values())


def _sign(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
