"""The tables of one destination that commits a table's rows together: when each commits, and how far all have come."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import duckdb
import pyarrow as pa

from connectors.sinks.base import Rows
from connectors.sinks.overlap import fresh


class Table(Protocol):
    """One stream's table; `rows` and `bytes` wait, the oldest of them `since` (monotonic seconds)."""

    rows: int
    bytes: int
    since: float

    def stage(self, partition: int, rows: pa.Table, next_offset: int) -> None:
        """Takes rows in offset order, except those below what the table has of the partition."""

    def committed(self, partition: int) -> int:
        """The next offset of the partition that the table wants, as it says itself. Raises Transient."""

    def first_held(self, partition: int) -> int | None:
        """The lowest offset staged of the partition."""

    def commit(self, engine: duckdb.DuckDBPyConnection) -> None:
        """Commits what is staged, all partitions together. Raises Fenced, Transient."""

    def reset(self) -> None:
        """Forgets what is staged, and what the table has: it is asked again."""


OneTable = TypeVar("OneTable", bound=Table)


class TablesWriter(ABC, Generic[OneTable]):
    """Part of a `Writer`: a table commits once its oldest rows are `interval` seconds old, or it is full."""

    def __init__(self, interval: float, commit_rows: int, commit_bytes: int) -> None:
        self._interval = interval
        self._commit_rows = commit_rows
        self._commit_bytes = commit_bytes
        self._tables: dict[str, OneTable] = {}
        self._holding: dict[str, OneTable] = {}  # those with rows: of thousands, the few that each look is about
        self._handed_over: dict[int, int] = {}
        self._commit_seconds = 0.0
        self._engine = duckdb.connect(config={"threads": 1})
        self._engine.execute("SET TimeZone = 'UTC'")

    @abstractmethod
    def _table(self, stream: str) -> OneTable:
        """The stream's table."""

    def stage(self, partition: int, rows: Sequence[Rows], next_offset: int) -> None:
        """See `Writer.stage`. Raises ConfigError where the destination cannot keep exactly-once."""
        for part in rows:
            table = self._table(part.stream)
            table.stage(partition, fresh(part.table, table.committed), next_offset)
            if table.rows:
                self._holding[part.stream] = table
        self._handed_over[partition] = next_offset

    def commit(self, *, everything: bool) -> None:
        """See `Writer.commit`. The oldest rows go first; the pace slows when commits take more than half of the time."""
        now = time.monotonic()
        waiting = sorted(self._holding.items(), key=lambda held: held[1].since)
        pace = max(self._interval, 2 * self._commit_seconds * len(waiting))
        held = sum(table.bytes for _, table in waiting)
        for stream, table in waiting:
            full = table.rows >= self._commit_rows or held > self._commit_bytes
            if everything or full or now - table.since >= pace:
                began = time.monotonic()
                held -= table.bytes
                table.commit(self._engine)
                del self._holding[stream]
                self._commit_seconds += (time.monotonic() - began - self._commit_seconds) / 8

    def reset(self) -> None:
        """See `Writer.reset`."""
        for table in self._tables.values():
            table.reset()
        self._holding.clear()
        self._handed_over.clear()

    def floor(self, partition: int) -> int | None:
        """See `Writer.floor`."""
        held = [first for table in self._holding.values() if (first := table.first_held(partition)) is not None]
        return min(held) if held else self._handed_over.get(partition)

    @property
    def held_bytes(self) -> int:
        """See `Writer.held_bytes`."""
        return sum(table.bytes for table in list(self._holding.values()))

    @property
    def capacity(self) -> int:
        """See `Writer.capacity`: past `commit_bytes` a commit is due."""
        return self._commit_bytes
