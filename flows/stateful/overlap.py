"""What a stream's tables may have of the log from before it had a lane.

A lane begins where the dataflow last said that all destinations were. After a crash tables are further than that, so up to
where the log then ended a row may be there already: such rows are handed on with their places in the log, for the tables to
tell (`connectors.sinks.overlap`). Of dead letters, which share one table, those that are there are looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from connectors.errors import HeadraceError, Transient
from connectors.merging import split_places
from connectors.sinks.base import Rows
from connectors.sinks.overlap import PLACE
from connectors.sinks.there import Letters

Ranges = Mapping[int, tuple[int, int]]
"""By partition of the log, the offsets from the first up to the second."""


class Overlap:
    """Of the ranges of one lane. `letters` gives what dead letters the stream has, as they are when it is first asked."""

    def __init__(self, ranges: Ranges, letters: Callable[[], Letters]) -> None:
        self._ranges = ranges
        self._open_letters = letters
        self._letters: Letters | None = None

    def marked(self, rows: Rows) -> Rows:
        """The rows, their `_offset` being a place, with `PLACE` where one of them may be in a table."""
        within = self._within(rows.table)
        if not within.any():
            return rows
        places = rows.table.column("_offset").to_numpy()
        return Rows(rows.stream, rows.table.append_column(PLACE, pa.array(places, pa.int64(), mask=~within)))

    def fresh(self, letters: Rows) -> Rows:
        """The dead letters that are not there yet. Raises HeadraceError where they cannot be asked for."""
        within = self._within(letters.table)
        if not within.any():
            return letters
        try:
            if self._letters is None:
                self._letters = self._open_letters()
            old = self._letters.fresh(letters.table.filter(pa.array(within)))
        except (
            Transient
        ) as exc:  # the round is lost, and with it what the steps have taken: only a new process has both
            raise HeadraceError(exc.what, remedy=exc.remedy) from exc
        kept = pa.concat_tables([old, letters.table.filter(pa.array(~within))])
        return Rows(letters.stream, kept)

    def _within(self, table: pa.Table) -> Any:
        """Which rows of the log lie in the ranges; a rollup's are not of the log."""
        column = table.column("_offset")
        found = np.zeros(table.num_rows, bool)
        if not self._ranges or column.null_count == len(column):
            return found
        partitions, offsets = (part.to_numpy() for part in split_places(column))
        for partition, (begin, end) in self._ranges.items():
            found |= (partitions == partition) & (offsets >= begin) & (offsets < end)
        return found
