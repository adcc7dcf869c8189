"""What every destination shares: how rows reach it, and how far the log is safe in it.

A destination may hold rows back to write them together. What it has not committed is not lost by a crash: the source
restarts from the *floor*, the lowest offset that some destination still holds uncommitted, and the destination skips
what it has already (`Writer.stage`). The source and the destinations of a partition run in one process (the graph
gives each process its own partitions), so the floor is a plain method call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import duckdb
import msgspec
import pyarrow as pa


class Rows(msgspec.Struct, frozen=True, gc=False):
    """Rows of one stream for one destination, in log order; `table` has a column `_offset` (the record's)."""

    stream: str
    table: pa.Table


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one log batch: rows by destination. Everything below `next_offset` of `partition` is accounted for.

    `flush` asks the destinations to commit what they hold.
    """

    partition: int
    next_offset: int
    rows: Mapping[str, Sequence[Rows]]
    flush: bool = False


class Writer(Protocol):
    """A destination within one process. Called by one thread."""

    def stage(self, partition: int, rows: Sequence[Rows], next_offset: int) -> None:
        """Takes rows of a partition, in order; those it has committed before are skipped.

        Everything below `next_offset` has then been handed over. Raises Transient, Fenced.
        """

    def commit(self, *, everything: bool) -> None:
        """Commits what is due, or everything that is held. Raises Transient, Fenced."""

    def floor(self, partition: int) -> int | None:
        """The lowest offset of the partition that is not safe yet; None before anything of it was handed over."""


class Rejects(Protocol):
    """Takes rows that a table must not have (`schema: reject`)."""

    def reject(
        self,
        rows: pa.Table,
        origin: pa.Table,
        stream: str,
        destination: str,
        offsets: Mapping[int, int],
        engine: duckdb.DuckDBPyConnection,
        *,
        part: str = "",
    ) -> None:
        """Makes `rows` safe elsewhere, before the table they were taken out of is committed.

        `origin` has their `_partition` and `_offset`; `offsets` are the next offsets wanted by partition once the table
        is committed. `part` names a part of the table that is committed on its own. Raises Fenced, Transient.
        """


class Progress:
    """Where each partition of this process can safely be read from again: the minimum over all destinations."""

    def __init__(self) -> None:
        self._writers: list[Writer] = []

    def register(self, writer: Writer) -> None:
        """Adds a destination of the graph; all are registered before the first batch is read."""
        self._writers.append(writer)

    def floor(self, partition: int, start: int) -> int:
        """The offset to resume from; `start` is where this process began reading."""
        floors = [writer.floor(partition) for writer in self._writers]
        return min((start if floor is None else floor for floor in floors), default=start)
