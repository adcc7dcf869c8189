"""What a window or a rollup remembers of events: narrow rows in DuckDB tables, each of a span of time, dropped whole once old.

Deleting rows would leave holes; a table that is dropped gives its memory back at once. Rows are numbered, and kept on disk
in pieces, each a range of numbers of one table.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import duckdb
import msgspec
import pyarrow as pa

from flows.stateful.pieces import due
from flows.stateful.slots import NOTHING, common_type, converted, held_type

_operators = itertools.count()
_ABOUT = b"headrace"
_WORTHWHILE = 4096  # rows

Condensing = Callable[[str, tuple[str, ...]], str]


class Piece(msgspec.Struct, frozen=True):
    """The rows numbered from `first` up to and with `last`."""

    name: str
    first: int
    last: int

    @property
    def rows(self) -> int:
        """How many they are, at most."""
        return self.last - self.first + 1


class Segment(msgspec.Struct):
    """A table of rows whose times are in [`low`, `high`] (microseconds), in pieces."""

    table: str
    types: tuple[str, ...]
    low: int
    high: int
    pieces: list[Piece]

    def takes(self, types: Sequence[str]) -> bool:
        """Whether slots of these types can be put in without a conversion."""
        return all(kind in (own, NOTHING) for kind, own in zip(types, self.types, strict=True))


class _About(msgspec.Struct, frozen=True):
    """What a piece that is kept says of itself."""

    segment: int
    types: tuple[str, ...]


class History:
    """Rows of `t` (event time or window start, microseconds), `n` (their number) and slots `names`.

    The types of the slots may differ from one segment to the next (`flows.stateful.slots`); `rows` gives all as one. A
    segment is filled until it spans `span` microseconds. Belongs to one thread.
    """

    def __init__(
        self, engine: duckdb.DuckDBPyConnection, names: Sequence[str], span: int, condensed: Condensing | None = None
    ) -> None:
        """`condensed` makes fewer rows of a segment's: it is given the table and its types, and gives `t` and the slots."""
        self._engine = engine
        self._names = tuple(names)
        self._span = span
        self._condensed = condensed
        self._prefix = f"history_{next(_operators)}"
        self._segments: list[Segment] = []
        self._made = 0  # segments ever made, which numbers them
        self._numbered = 0  # pieces ever made

    def append(self, query: str, types: Sequence[str], times: tuple[int, int], numbers: tuple[int, int]) -> None:
        """Adds the rows of `query` (`t, n` and the slots, of these types), which lie within `times` and have `numbers`."""
        segment = self._open(tuple(types), times)
        items = [converted(name, kind, own) for name, kind, own in zip(self._names, types, segment.types, strict=True)]
        self._engine.execute(f"INSERT INTO {segment.table} SELECT {', '.join(['t', 'n', *items])} FROM ({query})")
        segment.low, segment.high = min(segment.low, times[0]), max(segment.high, times[1])
        segment.pieces.append(self._piece(*numbers))
        if self._condensed is not None and _grown(segment):
            self._condense(segment, self._condensed)
        merged = due([piece.rows for piece in segment.pieces])
        if merged:
            first, last = segment.pieces[-merged], segment.pieces[-1]
            segment.pieces[-merged:] = [self._piece(first.first, last.last)]

    def rows(self, since: int) -> tuple[str, tuple[str, ...]]:
        """(query, types of the slots) of all rows from segments that reach `since`; of none there is no query."""
        held = [segment for segment in self._segments if segment.high >= since]
        types = tuple(common_type(segment.types[place] for segment in held) for place in range(len(self._names)))
        parts = []
        for segment in held:
            items = [
                f"{converted(name, kind, target)} AS {name}"
                for name, kind, target in zip(self._names, segment.types, types, strict=True)
            ]
            since_then = f" WHERE t >= {since}" if segment.low < since else ""
            parts.append(f"SELECT {', '.join(['t', 'n', *items])} FROM {segment.table}{since_then}")
        return " UNION ALL ".join(parts), types

    def drop(self, before: int) -> None:
        """Forgets the segments that lie before a time altogether."""
        for segment in self._segments:
            if segment.high < before:
                self._engine.execute(f"DROP TABLE {segment.table}")
        self._segments = [segment for segment in self._segments if segment.high >= before]

    @property
    def oldest(self) -> int | None:
        """A time that no row is before; None when there is no row."""
        return min((segment.low for segment in self._segments), default=None)

    @property
    def size(self) -> int:
        """How many rows there are, about."""
        return sum(piece.rows for segment in self._segments for piece in segment.pieces)

    def pieces(self) -> Mapping[str, Callable[[], pa.Table]]:
        """By its name, what makes each piece."""
        return {
            piece.name: lambda segment=segment, piece=piece: self._read(segment, piece)  # type: ignore[misc]
            for segment in self._segments
            for piece in segment.pieces
        }

    def restore(self, pieces: Mapping[str, pa.Table]) -> None:
        """Takes up what was kept, in the segments that it was in."""
        by_first = sorted(pieces.items(), key=lambda item: _number(item[1], 0))
        segments: dict[int, Segment] = {}
        for name, table in by_first:
            about = msgspec.json.decode(table.schema.metadata[_ABOUT], type=_About)
            segment = segments.get(about.segment)
            low, high = _bounds(table)
            if segment is None:
                self._made = about.segment
                segment = segments[about.segment] = self._make(about.types, (low, high))
            self._fill(segment, table)
            segment.low, segment.high = min(segment.low, low), max(segment.high, high)
            segment.pieces.append(Piece(name, _number(table, 0), _number(table, -1)))
        self._made = max((number + 1 for number in segments), default=0)
        self._numbered = max((int(name.rpartition("/")[2]) + 1 for name in pieces), default=0)

    def _open(self, types: tuple[str, ...], times: tuple[int, int]) -> Segment:
        if self._segments:
            last = self._segments[-1]
            if last.takes(types) and max(last.high, times[1]) - min(last.low, times[0]) <= self._span:
                return last
        return self._make(types, times)

    def _make(self, types: tuple[str, ...], times: tuple[int, int]) -> Segment:
        table = f"{self._prefix}_{self._made}"
        self._made += 1
        slots = [f"{name} {held_type(kind)}" for name, kind in zip(self._names, types, strict=True)]
        self._engine.execute(f"CREATE TEMP TABLE {table} ({', '.join(['t BIGINT', 'n BIGINT', *slots])})")
        self._segments.append(Segment(table, types, *times, []))
        return self._segments[-1]

    def _condense(self, segment: Segment, condensed: Condensing) -> None:
        """The rows keep to the numbers that they had together: what is kept on disk is one new piece."""
        first = segment.pieces[0].first
        query = condensed(segment.table, segment.types)
        number = f"{first} - 1 + row_number() OVER () AS n"
        self._engine.execute(
            f"CREATE TEMP TABLE condensing AS SELECT t, {number}, {', '.join(self._names)} FROM ({query})"
        )
        self._engine.execute(f"DROP TABLE {segment.table}")
        self._engine.execute(f"ALTER TABLE condensing RENAME TO {segment.table}")
        rows = int(self._engine.execute(f"SELECT count(*) FROM {segment.table}").fetchall()[0][0])
        segment.pieces = [self._piece(first, first + rows - 1)]

    def _fill(self, segment: Segment, table: pa.Table) -> None:
        self._engine.register("piece", table)
        items = [f"CAST({name} AS {held_type(kind)})" for name, kind in zip(self._names, segment.types, strict=True)]
        self._engine.execute(f"INSERT INTO {segment.table} SELECT {', '.join(['t', 'n', *items])} FROM piece")
        self._engine.unregister("piece")

    def _piece(self, first: int, last: int) -> Piece:
        self._numbered += 1
        return Piece(f"history/{self._numbered - 1}", first, last)

    def _read(self, segment: Segment, piece: Piece) -> pa.Table:
        query = f"SELECT * FROM {segment.table} WHERE n BETWEEN {piece.first} AND {piece.last} ORDER BY n"
        table = self._engine.sql(query).to_arrow_table()
        about = _About(int(segment.table.rpartition("_")[2]), segment.types)
        return table.replace_schema_metadata({_ABOUT: msgspec.json.encode(about)})


def _grown(segment: Segment) -> bool:
    """Whether as many rows have come as there were, so that what condensing costs is paid for."""
    return sum(piece.rows for piece in segment.pieces[1:]) >= max(_WORTHWHILE, segment.pieces[0].rows)


def _number(table: pa.Table, place: int) -> int:
    return int(table.column("n")[place].as_py())


def _bounds(table: pa.Table) -> tuple[int, int]:
    times = table.column("t").to_numpy()
    return int(times.min()), int(times.max())
