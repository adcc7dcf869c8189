"""Events that wait for the watermark, in chunks: each sorted by time once, so what is ready is its beginning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from flows.columns import Columns, Path
from flows.stateful.operator import Flat
from flows.stateful.pieces import due

_ABOUT = b"headrace"


class Chunk(msgspec.Struct):
    """Events sorted by `times` (int64 microseconds), those of one instant by receipt; and what is kept of each.

    `slots` is a table of the same rows, with slots of `types`. Those before `start` have gone on.
    """

    name: str
    events: Flat
    slots: pa.Table
    types: tuple[str, ...]
    times: Any
    start: int = 0

    def part(self, start: int, stop: int) -> Chunk:
        """The events from `start` up to `stop`."""
        events = Flat(self.events.table.slice(start, stop - start), self.events.columns)
        return Chunk(self.name, events, self.slots.slice(start, stop - start), self.types, self.times[start:stop])


class Pending:
    """The chunks that wait, in the order of their receipt. Belongs to one thread."""

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._made = 0

    def add(self, events: Flat, slots: pa.Table, types: tuple[str, ...], times: Any) -> None:
        """Adds events in the order of their receipt."""
        order = np.argsort(times, kind="stable")
        if not np.array_equal(order, np.arange(len(order))):
            indices = pa.array(order)
            events = Flat(events.table.take(indices), events.columns)
            slots, times = slots.take(indices), times[order]
        self._chunks.append(Chunk(self._name(), events, slots, types, times))
        self._merge()

    def ready(self, watermark: int) -> list[Chunk]:
        """Takes out the events before the watermark."""
        found = []
        for chunk in self._chunks:
            stop = int(np.searchsorted(chunk.times, watermark))
            if stop > chunk.start:
                found.append(chunk.part(chunk.start, stop))
                chunk.start = stop
        self._chunks = [chunk for chunk in self._chunks if chunk.start < len(chunk.times)]
        return found

    def count(self, watermark: int) -> int:
        """How many events are before the watermark."""
        return sum(max(int(np.searchsorted(chunk.times, watermark)) - chunk.start, 0) for chunk in self._chunks)

    def pieces(self) -> Mapping[str, Callable[[], pa.Table]]:
        """By its name, what makes each chunk's events as they are kept; some of them may have gone on already."""
        return {chunk.name: lambda chunk=chunk: _kept(chunk) for chunk in self._chunks}  # type: ignore[misc]

    def restore(
        self,
        pieces: Mapping[str, pa.Table],
        watermark: int,
        read: Callable[[Flat], tuple[pa.Table, tuple[str, ...], Any]],
    ) -> None:
        """Takes up what was kept; `read` gives an event's slots, their types and its time again."""
        for name, table in sorted(pieces.items(), key=lambda item: _number(item[0])):
            events = Flat(table.replace_schema_metadata(None), _columns(table))
            slots, types, times = read(events)
            start = int(np.searchsorted(times, watermark))
            self._chunks.append(Chunk(name, events, slots, types, times, start))
            self._made = _number(name) + 1

    def _merge(self) -> None:
        count = due([len(chunk.times) for chunk in self._chunks])
        last = self._chunks[-count:] if count else []
        if last and all(c.events.columns == last[0].events.columns and c.types == last[0].types for c in last):
            waiting = [chunk.part(chunk.start, len(chunk.times)) for chunk in last]
            times = np.concatenate([chunk.times for chunk in waiting])
            order = np.argsort(times, kind="stable")
            indices = pa.array(order)
            events = pa.concat_tables([chunk.events.table for chunk in waiting]).take(indices)
            slots = pa.concat_tables([chunk.slots for chunk in waiting]).take(indices)
            flat = Flat(events, last[0].events.columns)
            self._chunks[-count:] = [Chunk(self._name(), flat, slots, last[0].types, times[order])]

    def _name(self) -> str:
        self._made += 1
        return f"pending/{self._made - 1}"


def _number(name: str) -> int:
    return int(name.rpartition("/")[2])


def _kept(chunk: Chunk) -> pa.Table:
    columns = [[list(path), kind] for path, kind in chunk.events.columns.items()]
    table = chunk.events.table.slice(chunk.start)
    return table.replace_schema_metadata({_ABOUT: msgspec.json.encode(columns)})


def _columns(table: pa.Table) -> Columns:
    pairs: list[tuple[Path, str]] = msgspec.json.decode(table.schema.metadata[_ABOUT], type=list[tuple[Path, str]])
    return dict(pairs)
