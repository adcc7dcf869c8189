"""Runs the parts of a dataflow to the end of a log, in this thread and without an engine.

A replay is one process that ends: it needs nothing of what Bytewax gives (exchange, several workers, a recovery store).
Sources, pipelines and destinations are those of the live dataflow (`flows.graph.wire`). What is remembered are the floors,
how far the destinations are, which are true whenever they are written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from connectors.sinks.base import Outcome
from connectors.source import Stop
from flows.graph import Parts
from flows.stateful import source as streams_source

_EPOCH = 1.0  # seconds between the moments at which floors are kept
_PAUSE = 0.01  # seconds, where nothing can be done
_TELL = 0.2  # seconds between the calls of `tell`


class Floors:
    """How far each destination is, by partition of the log, in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> dict[str, dict[str, int]]:
        """By partition what was kept; nothing where that cannot be read: it is read again, and tables skip what they have."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, dict[str, int]])
        except (FileNotFoundError, msgspec.DecodeError):
            return {}

    def save(self, floors: Mapping[str, Mapping[str, int]]) -> None:
        """Keeps them, whole or not at all."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(floors))
        fresh.replace(self._file)


class Drain:
    """The parts at work. `run` may be called again after `stop` was extended; `close` at the end."""

    def __init__(
        self, parts: Parts, floors: Floors, stop: Stop, *, seen: Callable[[Outcome], None], tell: Callable[[], None]
    ) -> None:
        """`seen` is shown each outcome that is not for a destination that had fallen behind; `tell` is called several times a
        second. Raises HeadraceError."""
        kept = floors.read()
        self._parts = parts
        self._floors = floors
        self._stop = stop
        self._seen = seen
        self._tell = tell
        names = parts.source.list_parts()
        self._partitions = {name: parts.source.build_part("log", name, kept.get(name)) for name in names}
        self._streams = parts.streams.build_part("streams", streams_source.NAME, None)

    def run(self) -> None:
        """Returns once all up to the end of the log is safe in the destinations or, after a request to stop, what was read.

        Raises HeadraceError.
        """
        keep_at = tell_at = time.monotonic()
        while not self._stop.done.is_set():
            busy = self._turn()
            now = time.monotonic()
            if now >= keep_at:
                self._keep()
                keep_at = now + _EPOCH
            if now >= tell_at:
                self._tell()
                tell_at = now + _TELL
            if not busy:
                time.sleep(_PAUSE)
        self._keep()
        self._tell()

    def close(self) -> None:
        """Lets go of the log and of the state."""
        for partition in self._partitions.values():
            partition.close()
        self._streams.close()

    def _turn(self) -> bool:
        """Hands on what each source has now; whether there was anything."""
        busy = False
        for partition in self._partitions.values():
            if _is_awake(partition):
                for keyed in partition.next_batch():
                    self._offer(self._parts.processing(keyed)[1])
                    busy = True
        if _is_awake(self._streams):
            for _, outcome in self._streams.next_batch():
                self._offer(outcome)
                busy = True
        return busy

    def _offer(self, outcome: Outcome) -> None:
        if outcome.only is None and not outcome.flush:
            self._seen(outcome)
        for delivery in self._parts.deliveries:
            delivery.offer(outcome)

    def _keep(self) -> None:
        self._streams.snapshot()
        self._floors.save({name: partition.snapshot() for name, partition in self._partitions.items()})


def _is_awake(partition: Any) -> bool:
    awake = partition.next_awake()
    return awake is None or datetime.now(UTC) >= awake
