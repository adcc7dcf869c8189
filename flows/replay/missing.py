"""Writers that are handed only part of what is offered: what the destination has not got, from whomever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from connectors.sinks.base import Rows, Writer
from connectors.sinks.there import There
from flows.replay.live import Live

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Sifted:
    """Hands `writer` of all rows those that `sift` lets through (implements `Writer`)."""

    def __init__(self, writer: Writer, sift: Callable[[Rows], pa.Table]) -> None:
        self._writer = writer
        self._sift = sift

    def stage(self, partition: int, rows: Sequence[Rows], next_offset: int) -> None:
        """See `Writer.stage`."""
        sifted = [Rows(part.stream, self._sift(part)) for part in rows]
        self._writer.stage(partition, [part for part in sifted if part.table.num_rows], next_offset)

    def commit(self, *, everything: bool) -> None:
        """See `Writer.commit`."""
        self._writer.commit(everything=everything)

    def floor(self, partition: int) -> int | None:
        """See `Writer.floor`."""
        return self._writer.floor(partition)

    def reset(self) -> None:
        """See `Writer.reset`."""
        self._writer.reset()

    @property
    def held_bytes(self) -> int:
        """See `Writer.held_bytes`."""
        return self._writer.held_bytes

    @property
    def capacity(self) -> int:
        """See `Writer.capacity`."""
        return self._writer.capacity


class Missing:
    """Of rows for a table those that are to be brought to it: neither there, nor the dataflow's to bring.

    `stream` is whose events they are; rows under another name are a rollup's. `there` has by name what the tables hold.
    """

    def __init__(self, stream: str, there: Callable[[str], There | None], live: Live | None) -> None:
        self._stream = stream
        self._there = there
        self._live = live
        self._held = pa.array(sorted(live.held) if live else [], pa.string())

    def __call__(self, part: Rows) -> pa.Table:
        rows = part.table
        if part.stream != self._stream and self._live is not None:  # a window that is open there gives its row there
            closed = _EPOCH + timedelta(microseconds=max(self._live.closed.get(part.stream, 0), 0))
            rows = rows.filter(pc.less_equal(rows["window_end"], pa.scalar(closed, rows["window_end"].type)))
        if len(self._held) and rows.num_rows:
            rows = rows.filter(pc.invert(pc.is_in(rows["event_id"], value_set=self._held)))
        there = self._there(part.stream)
        if there is not None and rows.num_rows:
            rows = rows.filter(pc.invert(there.has(rows)))
        return rows
