"""Where the events of each stream may have been going, by any configuration of this data directory so far.

When a changed configuration refuses events that an earlier one took, those that had reached all of their destinations are
nobody's loss, and no dead letters: only what one of them had not got by then is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pyarrow.compute as pc

from connectors.errors import HeadraceError
from connectors.sinks import dead_letters
from flows.config import Config
from flows.config.rules import routed_to
from flows.letters import Aside


class Owed:
    """What destinations had still to get when the letters of this configuration began. Belongs to one process."""

    def __init__(self, file: Path, config: Config, version: str) -> None:
        """Notes in `file` where the streams of the configuration called `version` go. Raises HeadraceError."""
        self._edition = dead_letters.edition(version)
        self._destinations = _noted(file, config)
        self._state: dict[int, Mapping[str, int]] = {}

    def begin(self, partition: int, state: Mapping[str, int]) -> None:
        """A partition is gone on with from `state`: how far each destination was, and the letters of some configuration."""
        self._state[partition] = state

    def of(self, aside: Aside, stream: str, partition: int) -> Aside:
        """Of the events of a stream (its id) that are set aside those that are to become letters."""
        offsets = aside.events.column("_offset")
        until = self._until(stream, partition, aside.to)
        if not len(offsets) or offsets[0].as_py() >= until:
            return aside
        return msgspec.structs.replace(aside, events=aside.events.filter(pc.greater_equal(offsets, until)))

    def _until(self, stream: str, partition: int, to: str | None) -> int:
        """Below it all of the stream's destinations have what was theirs, and the letters of before have been made."""
        state = self._state.get(partition, {})
        if self._edition in state:
            return 0
        kind = dead_letters.NAME
        passed = [at for name, at in state.items() if name.partition("/")[0] == kind]
        going = self._destinations.get(stream, state.keys()) if to is None else [to]
        return min([*passed, *(state[name] for name in going if name in state)], default=0) if passed else 0


def _noted(file: Path, config: Config) -> dict[str, list[str]]:
    try:
        known = msgspec.json.decode(file.read_bytes(), type=dict[str, list[str]])
    except FileNotFoundError:
        known = {}
    except (msgspec.DecodeError, OSError) as exc:
        raise HeadraceError(f"{file} cannot be read: {exc}", remedy="remove it; it is made anew") from exc
    now = {stream.id: routed_to(stream) for stream in config.streams.values()}
    both = {stream: sorted({*known.get(stream, ()), *now.get(stream, ())}) for stream in {**known, **now}}
    if both != known:
        fresh = file.with_name(f"{file.name}.{os.getpid()}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(msgspec.json.encode(both, order="deterministic"))
            fresh.replace(file)
        except OSError as exc:
            raise HeadraceError(f"writing {file}: {exc.strerror}", remedy="make room, or mend its permissions") from exc
    return both
