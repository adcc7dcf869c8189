"""Events that wait for their interval's end, and how they are kept: what comes is written once, what goes is taken away.

A piece is what waits of one batch, with that batch's own columns. It is written again only when more than half of it has
gone, or when many small ones have become one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.columns import SAMPLE_RATE, STREAM, Columns, dotted
from flows.stateful.operator import Changes, Flat

_ABOUT = b"headrace"
_KEY, _DRAW, _KEEP = "_sample_key", "_sample_draw", "_sample_keep"
_MANY = 64  # pieces that are not yet put together

Counts = tuple[int | None, Any, Any]
"""The open interval, its keys (uint64, sorted) and how many events each of them has had (int64)."""


class Kept(msgspec.Struct):
    """Events and, an element each, their key (uint64), draw (int64) and whether they are kept whatever the draw."""

    events: Flat
    key: Any
    draw: Any
    keep: Any


class _Piece(msgspec.Struct):
    """Of `kept.events.table` only `rows` still wait; the arrays have an element for each of those.

    `saved` is how many of them are on disk.
    """

    name: str
    kept: Kept
    rows: Any
    saved: int = 0


class Waiting:
    """Pieces in the order they came."""

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []
        self._number = 0
        self._names: set[str] = set()
        self._counts = _SavedCounts()

    @property
    def rows(self) -> int:
        """How many events wait."""
        return sum(len(piece.rows) for piece in self._pieces)

    @property
    def bytes(self) -> int:
        """How much memory they take."""
        return sum(piece.kept.events.table.nbytes for piece in self._pieces)

    @property
    def stream(self) -> str:
        """The name of their stream."""
        table = self._pieces[-1].kept.events.table
        return str(table.column(dotted(STREAM))[0].as_py())

    def add(self, fresh: Kept) -> None:
        """Takes in the events of a batch."""
        self._pieces.append(_Piece(self._name(), fresh, np.arange(len(fresh.key))))

    def arrays(self) -> tuple[Any, Any, Any]:
        """The key, the draw and the keep of each event, in the order they came."""
        kept = [piece.kept for piece in self._pieces]
        return (
            np.concatenate([np.empty(0, np.uint64), *(one.key for one in kept)]),
            np.concatenate([np.empty(0, np.int64), *(one.draw for one in kept)]),
            np.concatenate([np.empty(0, bool), *(one.keep for one in kept)]),
        )

    def release(self, stays: Any, goes: Any, rate: Any) -> list[Flat]:
        """Lets go of the events that do not stay, and gives those that stay and `goes`, their rates multiplied."""
        out: list[Flat] = []
        left: list[_Piece] = []
        start = 0
        for piece in self._pieces:
            part = slice(start, start + len(piece.rows))
            start = part.stop
            going = stays[part] & goes[part]
            if going.any():
                _append(out, _rated(piece.kept.events, piece.rows[going], rate[part][going]))
            waits = stays[part] & ~goes[part]
            if waits.any():
                left.append(piece if waits.all() else _shrunk(piece, waits))
        self._pieces = left if len(left) < _MANY else self._together(left)
        return out

    def changes(self, counts: Counts) -> Changes:
        """What differs from the last time this was asked."""
        put, gone = self._counts.changes(counts)
        for piece in self._pieces:
            if not piece.saved or 2 * len(piece.rows) < piece.saved:
                put[piece.name] = _as_table(piece)
                piece.saved = len(piece.rows)
        live = {piece.name for piece in self._pieces}
        gone += sorted(self._names - live)
        self._names = live
        return Changes(put, gone)

    def restore(self, pieces: Mapping[str, pa.Table]) -> Counts:
        """Takes up what was saved. Of a piece there may be more than waited: what was not chosen is not chosen again."""
        names = [name for name in pieces if name.startswith("rows-")]
        self._pieces = [_from_table(name, pieces[name]) for name in sorted(names, key=_number_of)]
        self._names = set(names)
        self._number = max(map(_number_of, names), default=0)
        return self._counts.restore(pieces)

    def _name(self) -> str:
        self._number += 1
        return f"rows-{self._number}"

    def _together(self, pieces: list[_Piece]) -> list[_Piece]:
        """Neighbours of the same columns become one piece."""
        made: list[list[_Piece]] = []
        for piece in pieces:
            same = made and _same(made[-1][-1].kept.events, piece.kept.events)
            made[-1].append(piece) if same else made.append([piece])
        return [group[0] if len(group) == 1 else self._merged(group) for group in made]

    def _merged(self, group: list[_Piece]) -> _Piece:
        table = pa.concat_tables([piece.kept.events.table.take(pa.array(piece.rows)) for piece in group])
        kept = Kept(
            Flat(table.combine_chunks(), group[0].kept.events.columns),
            np.concatenate([piece.kept.key for piece in group]),
            np.concatenate([piece.kept.draw for piece in group]),
            np.concatenate([piece.kept.keep for piece in group]),
        )
        return _Piece(self._name(), kept, np.arange(table.num_rows))


class _SavedCounts:
    """The counts of the open interval on disk: each piece has those that changed, and a count only grows."""

    def __init__(self) -> None:
        self._last: Counts = (None, np.empty(0, np.uint64), np.empty(0, np.int64))
        self._rows: dict[str, int] = {}
        self._number = 0

    def changes(self, counts: Counts) -> tuple[dict[str, pa.Table], list[str]]:
        interval, keys, seen = counts
        last_interval, last_keys, last_seen = self._last
        put: dict[str, pa.Table] = {}
        if interval != last_interval:
            put["open"] = pa.table({"interval": pa.array([interval], pa.int64())})
        at = np.searchsorted(keys, last_keys)
        grown = (
            interval == last_interval and bool(np.isin(last_keys, keys).all()) and bool((seen[at] >= last_seen).all())
        )
        changed = np.ones(len(keys), bool)
        if grown:
            changed[at] = seen[at] > last_seen
        gone: list[str] = []
        outdated = sum(self._rows.values()) > 2 * len(keys) + 1000 or len(self._rows) >= _MANY
        if not grown or (outdated and changed.any()):
            gone, self._rows = list(self._rows), {}
            changed[:] = True
        if changed.any():
            self._number += 1
            name = f"seen-{self._number}"
            put[name] = pa.table({"key": pa.array(keys[changed]), "seen": pa.array(seen[changed])})
            self._rows[name] = int(changed.sum())
        self._last = counts
        return put, gone

    def restore(self, pieces: Mapping[str, pa.Table]) -> Counts:
        interval = pieces["open"].column("interval")[0].as_py() if "open" in pieces else None
        tables = {name: table for name, table in pieces.items() if name.startswith("seen-")}
        self._rows = {name: table.num_rows for name, table in tables.items()}
        self._number = max(map(_number_of, tables), default=0)
        key = np.concatenate([np.empty(0, np.uint64), *(table.column("key").to_numpy() for table in tables.values())])
        seen = np.concatenate([np.empty(0, np.int64), *(table.column("seen").to_numpy() for table in tables.values())])
        order = np.lexsort((seen, key))
        latest = np.flatnonzero(np.append(key[order][1:] != key[order][:-1], [True] * (len(key) > 0)))
        self._last = interval, key[order][latest], seen[order][latest]
        return self._last


def _number_of(name: str) -> int:
    return int(name.rpartition("-")[2])


def _shrunk(piece: _Piece, waits: Any) -> _Piece:
    kept, rows = piece.kept, piece.rows[waits]
    events = kept.events
    if 2 * len(rows) < events.table.num_rows:
        events = Flat(events.table.take(pa.array(rows)).combine_chunks(), events.columns)
        rows = np.arange(len(rows))
    return _Piece(piece.name, Kept(events, kept.key[waits], kept.draw[waits], kept.keep[waits]), rows, piece.saved)


def _rated(events: Flat, rows: Any, rate: Any) -> Flat:
    table = events.table.take(pa.array(rows))
    at = table.column_names.index(dotted(SAMPLE_RATE))
    rates = pc.multiply(table.column(at), pa.array(rate))
    return Flat(table.set_column(at, table.field(at), rates), events.columns)


def _append(out: list[Flat], part: Flat) -> None:
    """Few large parts are cheaper than many small ones."""
    if out and _same(out[-1], part):
        out[-1] = Flat(pa.concat_tables([out[-1].table, part.table]), part.columns)
    else:
        out.append(part)


def _same(one: Flat, other: Flat) -> bool:
    return list(one.columns.items()) == list(other.columns.items()) and one.table.schema.equals(other.table.schema)


def _as_table(piece: _Piece) -> pa.Table:
    table = piece.kept.events.table.take(pa.array(piece.rows)).combine_chunks()
    for name, values in ((_KEY, piece.kept.key), (_DRAW, piece.kept.draw), (_KEEP, piece.kept.keep)):
        table = table.append_column(name, pa.array(values))
    about = msgspec.json.encode(list(piece.kept.events.columns.items()))
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _ABOUT: about})


def _from_table(name: str, table: pa.Table) -> _Piece:
    about = dict(table.schema.metadata)
    columns: Columns = dict(msgspec.json.decode(about.pop(_ABOUT), type=list[tuple[tuple[str, ...], str]]))
    key, draw, keep = (np.array(table.column(extra).to_numpy()) for extra in (_KEY, _DRAW, _KEEP))
    events = table.drop_columns([_KEY, _DRAW, _KEEP]).replace_schema_metadata(about or None)
    return _Piece(name, Kept(Flat(events, columns), key, draw, keep), np.arange(table.num_rows), table.num_rows)
