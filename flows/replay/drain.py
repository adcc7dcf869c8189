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


def drain(
    parts: Parts, floors: Floors, stop: Stop, *, seen: Callable[[Outcome], None], tell: Callable[[], None]
) -> None:
    """Returns once everything up to the end of the log is safe in the destinations, or, after a request to stop, what was read.

    `seen` is shown each outcome that is not for a destination that had fallen behind; `tell` is called several times a
    second. Raises HeadraceError.
    """
    kept = floors.read()
    partitions = {name: parts.source.build_part("log", name, kept.get(name)) for name in parts.source.list_parts()}
    streams = parts.streams.build_part("streams", streams_source.NAME, None)

    def offer(outcome: Outcome) -> None:
        if outcome.only is None and not outcome.flush:
            seen(outcome)
        for delivery in parts.deliveries:
            delivery.offer(outcome)

    def keep() -> None:
        streams.snapshot()
        floors.save({name: partition.snapshot() for name, partition in partitions.items()})

    keep_at = tell_at = time.monotonic()
    try:
        while not stop.done.is_set():
            busy = False
            for partition in partitions.values():
                if _is_awake(partition):
                    for keyed in partition.next_batch():
                        offer(parts.processing(keyed)[1])
                        busy = True
            if _is_awake(streams):
                for _, outcome in streams.next_batch():
                    offer(outcome)
                    busy = True
            now = time.monotonic()
            if now >= keep_at:
                keep()
                keep_at = now + _EPOCH
            if now >= tell_at:
                tell()
                tell_at = now + _TELL
            if not busy:
                time.sleep(_PAUSE)
        keep()
        tell()
    finally:
        for partition in partitions.values():
            partition.close()
        streams.close()


def _is_awake(partition: Any) -> bool:
    awake = partition.next_awake()
    return awake is None or datetime.now(UTC) >= awake
