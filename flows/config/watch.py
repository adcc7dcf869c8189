"""A configuration file that may change while it is in use: taken whole once it is right, and otherwise not at all.

What was accepted is a text, not a file: it is read once, checked, and handed on as it was checked. So a process that is
started again while the file is being edited, or is broken, works with what was last accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from connectors.errors import ConfigError
from connectors.log.settings import without_topics
from connectors.logger import get_logger
from flows.config.load import load, read_text
from flows.config.settings import Config
from flows.config.version import config_version

ACCEPTED = "accepted.yaml"
"""In the state directory: the text that the dataflow has accepted last."""

SECONDS = 0.25
"""How often to look: a change is taken at the second look that finds it the same."""


_log = get_logger()


class Accepted(msgspec.Struct, frozen=True):
    """A configuration in use: `text` is what its file held, `version` names it."""

    config: Config
    text: bytes
    version: str


class Refused(msgspec.Struct, frozen=True):
    """The file has changed and is not taken: `reason` has every problem, a line each."""

    reason: str


def accept(
    path: str | Path,
    text: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    files: bool = False,
) -> Accepted:
    """The configuration of the file `path`, or of `text`, which it held before; `files` as for `load`. Raises ConfigError."""
    held = read_text(Path(path)) if text is None else text
    config = load(path, environment, text=held, files=files)
    return Accepted(config, held, config_version(config))


def accept_again(path: Path, fall_back: Path | None, *, files: bool = False) -> Accepted:
    """As `accept`; where the file is wrong, what `fall_back` has of it: for a process that is started again meanwhile.

    Raises ConfigError where that is not there either.
    """
    try:
        return accept(path, files=files)
    except ConfigError as exc:
        if fall_back is None or not fall_back.exists():
            raise
        _log.error("the configuration is wrong; going on with what was taken last", problems=str(exc))
        return accept(path, fall_back.read_bytes())


class Watch:
    """Looks for changes of the file that `current` is from. Belongs to one thread."""

    def __init__(self, path: Path, current: Accepted, *, files: bool = False) -> None:
        self.current = current
        self._path = path
        self._files = files
        self._seen: bytes | None = current.text
        self._signature: tuple[int, ...] | None = ()
        self._settled = False

    def look(self) -> Accepted | Refused | None:
        """What has become of the file: None while it is as it was, or still being written.

        What is accepted is `current` from then on. What is refused is said once.
        """
        signature = self._sign()
        if signature != self._signature:
            self._signature, self._settled = signature, False
            return None
        if self._settled:
            return None
        self._settled = True
        return self._read()

    def _sign(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size, found.st_dev

    def _read(self) -> Accepted | Refused | None:
        try:
            text = read_text(self._path)
            if text == self._seen:
                return None
            self._seen = text
            found = accept(self._path, text, files=self._files)
        except ConfigError as exc:
            return Refused(str(exc))
        new, old = (
            {"log": without_topics(config.log), "data": config.data} for config in (found.config, self.current.config)
        )
        kept = [name for name in new if new[name] != old[name]]
        if kept:
            what = " and ".join(f"`{name}`" for name in kept)
            return Refused(f"{what} cannot change while headrace runs; stop it and start it again")
        same = found.config == self.current.config  # another layout, or a mistake that was taken back
        self.current = found
        return None if same else found
