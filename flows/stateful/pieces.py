"""How state is cut into pieces that are written once: few of them, whatever the number of batches they came in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from flows.stateful.operator import Changes

FAN = 8
_SMALLEST = 512
_MARKS = "marks"


def due(sizes: Sequence[int]) -> int:
    """How many of the last pieces, by their number of rows, are to become one; 0 for none.

    Eight of about a size become one of the next: each row is written again once for every factor of eight that the state
    has over a batch, and about eight pieces of a size are left.
    """
    if not sizes:
        return 0
    last = _size_class(sizes[-1])
    run = 0
    while run < len(sizes) and _size_class(sizes[-1 - run]) <= last:
        run += 1
    return run if run >= FAN else 0


class Saved:
    """Which pieces have been handed over to be kept: what is under a name never changes, but for the `marks`, a few numbers."""

    def __init__(self) -> None:
        self._names: frozenset[str] = frozenset()
        self._marks: tuple[int, ...] = ()

    def changes(self, live: Mapping[str, Callable[[], pa.Table]], marks: tuple[int, ...]) -> Changes:
        """What differs from the last time: `live` are all pieces there are now, made when they are asked for."""
        put = {name: make() for name, make in live.items() if name not in self._names}
        if marks != self._marks:
            put[_MARKS] = pa.table({"mark": pa.array(marks, pa.int64())})
        gone = sorted(self._names - live.keys())
        self._names, self._marks = frozenset(live), marks
        return Changes(put, gone)

    def restored(self, pieces: Mapping[str, pa.Table]) -> tuple[int, ...]:
        """The marks that were kept; none where nothing was."""
        self._names = frozenset(pieces) - {_MARKS}
        self._marks = tuple(pieces[_MARKS].column("mark").to_pylist()) if _MARKS in pieces else ()
        return self._marks


def under(prefix: str, pieces: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The pieces whose names begin so."""
    return {name: table for name, table in pieces.items() if name.startswith(prefix)}


def _size_class(rows: int) -> int:
    found, size = 0, _SMALLEST
    while rows > size:
        found, size = found + 1, size * FAN
    return found
