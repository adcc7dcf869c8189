"""How state is cut into pieces that are written once: few of them, whatever the number of batches they came in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from flows.stateful.operator import Changes

FAN = 8
_SMALLEST = 512


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
    """Which pieces have been handed over to be kept. What is under a name never changes, save for those of `always`."""

    def __init__(self) -> None:
        self._names: frozenset[str] = frozenset()

    def changes(self, live: Mapping[str, Callable[[], pa.Table]], always: Mapping[str, pa.Table]) -> Changes:
        """What differs from the last time: `live` are all pieces there are now, made when they are asked for."""
        put = {name: make() for name, make in live.items() if name not in self._names}
        gone = sorted(self._names - live.keys())
        self._names = frozenset(live)
        return Changes({**put, **always} if put or gone or always else {}, gone)

    def restored(self, names: Sequence[str]) -> None:
        """These are kept already."""
        self._names = frozenset(names)


def _size_class(rows: int) -> int:
    found, size = 0, _SMALLEST
    while rows > size:
        found, size = found + 1, size * FAN
    return found
