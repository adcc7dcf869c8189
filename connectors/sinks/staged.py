"""Rows that wait to be committed together with the offsets they came from, whatever kind of table they go to."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa

from connectors.sinks.fitted import OFFSET, PARTITION
from connectors.views import whole


class StagedRows:
    """What a table holds back. `rows` and `bytes` wait, the oldest of them `since` (monotonic seconds)."""

    def __init__(self) -> None:
        self._committed: dict[int, int] = {}  # partition -> next offset wanted, as this process last saw or wrote it
        self._staged: list[pa.Table] = []
        self._next: dict[int, int] = {}  # partition -> next offset wanted once what is staged is committed
        self._first: dict[int, int] = {}  # partition -> lowest offset staged
        self.rows = 0
        self.bytes = 0
        self.since = 0.0

    def first_held(self, partition: int) -> int | None:
        """The lowest offset staged of the partition."""
        return self._first.get(partition)

    def _take(self, partition: int, rows: pa.Table, next_offset: int, committed: int) -> None:
        """Stages rows in offset order, except those below `committed`, which the table has."""
        offsets = rows.column(OFFSET).to_numpy()
        start = int(np.searchsorted(offsets, committed))
        if start == len(offsets):
            return
        if not self._staged:
            self.since = time.monotonic()
        fresh = whole(rows.slice(start)).append_column(PARTITION, pa.array(np.full(len(offsets) - start, partition)))
        self._staged.append(fresh)
        # Groups of one batch come one after the other: a later one may begin at a lower offset.
        self._first[partition] = min(int(offsets[start]), self._first.get(partition, int(offsets[start])))
        self._next[partition] = next_offset
        self.rows += fresh.num_rows
        self.bytes += fresh.nbytes

    def _took(self) -> None:
        """What was staged is committed."""
        self._committed.update(self._next)
        self._let_go()

    def _let_go(self) -> None:
        self._staged, self._next, self._first = [], {}, {}
        self.rows = self.bytes = 0
