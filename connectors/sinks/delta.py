"""Delta tables, one a stream, each event in its table exactly once.

The rows and, for every log partition that they came from, a `txn` action whose version is the next offset wanted, are
one commit: after a crash the table itself says what it has, and rows below are skipped. Several partitions, and rows of
many batches, go into one commit, because commits are the scarce resource; a table with nothing new commits nothing.

A commit is refused (`Fenced`) where another process has moved one of our partitions on: two dataflows on one log would
otherwise write every event twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa

from connectors.sinks.base import Rejects, Rows
from connectors.sinks.delta_table import TableWriter
from connectors.sinks.settings import DeltaDestination

EVENTS = pa.schema(
    [
        ("event_id", pa.string()),
        ("timestamp", pa.timestamp("us", "UTC")),
        ("received_at", pa.timestamp("us", "UTC")),
        ("source", pa.string()),
        ("event", pa.struct([])),
        ("metadata", pa.struct([])),
        ("_sample_rate", pa.float64()),
        ("_late", pa.bool_()),
        ("_rescued", pa.string()),
        ("date", pa.date32()),
    ]
)
"""A stream's table before its first event; `event` and `metadata` become columns with their first field."""


class DeltaWriter:
    """All the tables of one Delta destination, within one process (implements `Writer`).

    `schemas` says by stream what becomes of a new field (`evolve`, `rescue`, `reject`); what `reject` refuses goes to
    `rejects`.
    """

    def __init__(
        self,
        settings: DeltaDestination,
        log_identity: str,
        *,
        base: pa.Schema = EVENTS,
        schemas: Mapping[str, str] | None = None,
        rejects: Rejects | None = None,
        name: str = "lake",
    ) -> None:
        self._settings = settings
        self._identity = log_identity
        self._base = base
        self._schemas = schemas or {}
        self._rejects = rejects
        self._name = name
        self._tables: dict[str, TableWriter] = {}
        self._handed_over: dict[int, int] = {}
        self._interval = settings.interval.total_seconds()
        self._commit_seconds = 0.0
        self._proved = False
        self._engine = duckdb.connect(config={"threads": 1})
        self._engine.execute("SET TimeZone = 'UTC'")

    def stage(self, partition: int, rows: Sequence[Rows], next_offset: int) -> None:
        """See `Writer.stage`. Raises ConfigError where the store cannot keep exactly-once."""
        for part in rows:
            self._table(part.stream).stage(partition, part.table, next_offset)
        self._handed_over[partition] = next_offset

    def commit(self, *, everything: bool) -> None:
        """See `Writer.commit`. The oldest rows go first; the pace slows when commits take more than half of the time."""
        now = time.monotonic()
        waiting = sorted((table for table in self._tables.values() if table.rows), key=lambda table: table.since)
        pace = max(self._interval, 2 * self._commit_seconds * len(waiting))
        held = sum(table.bytes for table in waiting)
        for table in waiting:
            full = table.rows >= self._settings.commit_rows or held > self._settings.commit_bytes
            if everything or full or now - table.since >= pace:
                began = time.monotonic()
                held -= table.bytes
                table.commit(self._engine)
                self._commit_seconds += (time.monotonic() - began - self._commit_seconds) / 8

    def reset(self) -> None:
        """See `Writer.reset`."""
        for table in self._tables.values():
            table.reset()
        if self._rejects is not None:
            self._rejects.reset(self._name)
        self._handed_over.clear()

    @property
    def held_bytes(self) -> int:
        """See `Writer.held_bytes`."""
        return sum(table.bytes for table in list(self._tables.values()))

    @property
    def capacity(self) -> int:
        """See `Writer.capacity`: past `commit_bytes` a commit is due."""
        return self._settings.commit_bytes

    def floor(self, partition: int) -> int | None:
        """See `Writer.floor`."""
        held = [first for table in self._tables.values() if (first := table.first_held(partition)) is not None]
        return min(held) if held else self._handed_over.get(partition)

    def _table(self, stream: str) -> TableWriter:
        if not self._proved:
            if not self._settings.is_local:
                from connectors.sinks.probe import prove_conditional_put  # S3's client takes a second to import

                prove_conditional_put(self._settings)
            self._proved = True
        if stream not in self._tables:
            self._tables[stream] = TableWriter(
                self._settings,
                stream,
                self._identity,
                self._base,
                schema_mode=self._schemas.get(stream, "evolve"),
                rejects=self._rejects,
                destination=self._name,
            )
        return self._tables[stream]
