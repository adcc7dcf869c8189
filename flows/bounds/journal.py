"""What is known of events over which a pipeline went too far, on the disk: suspected ones and refused ones.

An event is known by its place: its record's offset and its index in it. A file is of one partition, or of one stream that
is read from all of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import pyarrow as pa

from connectors.batch import StreamLines
from connectors.errors import HeadraceError
from flows.columns import EVENT_ID, OFFSET, dotted
from flows.stateful.operator import Flat

_SPLIT = 64  # what went too far is tried again in so many parts
_SUSPECTS, _REFUSED = 200_000, 20_000  # what is kept at most: one that is forgotten is found again

Place = tuple[int, int]
Events = TypeVar("Events", StreamLines, Flat)
"""As they came, or as a step with a memory has let them go."""


class _Known(msgspec.Struct):
    suspects: list[tuple[int, int, int]] = []  # offset, index, how many are tried together
    refused: list[tuple[int, int, str]] = []  # offset, index, reason


class Journal:
    """The events of one file. Belongs to one thread; `blame` is the last thing that a process does."""

    def __init__(self, file: Path) -> None:
        self._file = file
        known = _read(file)
        self._suspects: dict[Place, int] = {(offset, index): step for offset, index, step in known.suspects}
        self._refused: dict[Place, str] = {(offset, index): reason for offset, index, reason in known.refused}

    def pieces(self, events: Events) -> tuple[Sequence[Events], Sequence[tuple[str, Events]]]:
        """The events in the parts that they are to be tried in, in order; and those that are refused, by the reason."""
        if not self._suspects and not self._refused:
            return [events], []
        places = _places(events)
        if self._suspects.keys().isdisjoint(places) and self._refused.keys().isdisjoint(places):
            return [events], []
        pieces: list[list[int]] = []
        refused: dict[str, list[int]] = {}
        before: int | None = None
        for row, place in enumerate(places):
            if place in self._refused:
                refused.setdefault(self._refused[place], []).append(row)
                continue
            together = self._suspects.get(place, 0)  # 0: as many as there are
            if not pieces or together != before or (together and len(pieces[-1]) >= together):
                pieces.append([])
            pieces[-1].append(row)
            before = together
        taken = [(reason, _part(events, rows)) for reason, rows in refused.items()]
        return [_part(events, rows) for rows in pieces], taken

    def blame(self, events: StreamLines | Flat, reason: str) -> bool:
        """Writes down that the events were in hand when it was too much; whether that is one, which is now refused."""
        places = _places(events)
        alone = len(places) == 1
        if alone:
            self._suspects.pop(places[0], None)
            self._refused[places[0]] = reason
        else:
            step = max(1, len(places) // _SPLIT)
            if len(self._suspects) > _SUSPECTS:
                self._suspects = {}
            self._suspects |= dict.fromkeys(places, step)
        self._write()
        return alone

    def _write(self) -> None:
        suspects = [(offset, index, step) for (offset, index), step in self._suspects.items()]
        refused = [(offset, index, reason) for (offset, index), reason in self._refused.items()][-_REFUSED:]
        new = self._file.with_suffix(".new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as out:
                out.write(msgspec.json.encode(_Known(suspects, refused)))
                out.flush()
                os.fsync(out.fileno())
            new.replace(self._file)
        except OSError as exc:
            raise HeadraceError(f"writing {self._file}: {exc.strerror}", remedy="make room on the disk") from exc


def _read(file: Path) -> _Known:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Known)
    except (FileNotFoundError, msgspec.DecodeError):  # what is lost is found again
        return _Known()


def _places(events: StreamLines | Flat) -> list[Place]:
    if isinstance(events, Flat):
        offsets, ids = (events.table.column(dotted(path)).to_pylist() for path in (OFFSET, EVENT_ID))
        return [(offset, int(event_id.rpartition("-")[2])) for offset, event_id in zip(offsets, ids, strict=True)]
    columns = (events.table.column(name).to_pylist() for name in ("_offset", "index"))
    return list(zip(*columns, strict=True))


def _part(events: Events, rows: list[int]) -> Events:
    if isinstance(events, Flat):
        return msgspec.structs.replace(events, table=events.table.take(pa.array(rows, pa.int64())))
    return events.at(rows)
