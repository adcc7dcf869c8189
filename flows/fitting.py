"""The known shape of a stream's events, widened whenever a batch has something new."""

from __future__ import annotations

from connectors.batch import StreamLines
from flows.shape import Listed, Shape, Unreadable, first_misfit, learn


class Fitting:
    """Keeps the shape that all events so far fit. `types` are the stream's. Belongs to one thread."""

    def __init__(self, types: dict[str, str], listed: Listed) -> None:
        self._types = types
        self._listed = listed
        self.shape = Shape()

    def fit(self, lines: StreamLines) -> tuple[StreamLines, list[int]]:
        """The lines that are events, the shape widened until they fit; and the places of those that are none."""
        try:
            self._fit(lines)
        except Unreadable:
            bad = self._unreadable(lines, 0, lines.table.num_rows)
            left_out = set(bad)
            good = lines.at([place for place in range(lines.table.num_rows) if place not in left_out])
            if good.table.num_rows:
                self._fit(good)
            return good, bad
        return lines, []

    def _fit(self, lines: StreamLines) -> None:
        if not lines.ndjson.strip() or first_misfit(self.shape, lines.ndjson) is not None:
            self.shape = learn(self.shape, lines.table.column("line"), lines.ndjson, self._listed, self._types)

    def _unreadable(self, lines: StreamLines, start: int, stop: int) -> list[int]:
        """The places between `start` and `stop` of lines that cannot be read, found by halving."""
        try:
            self._fit(lines.at(list(range(start, stop))))
        except Unreadable:
            if stop - start == 1:
                return [start]
            middle = (start + stop) // 2
            return self._unreadable(lines, start, middle) + self._unreadable(lines, middle, stop)
        return []
