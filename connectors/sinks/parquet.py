"""Plain Parquet files, a directory a date, each event in them exactly once: `connectors.sinks.parquet_table` says how.

Files are not compacted afterwards, so rows wait for company: a file is written when enough rows are there, or old
enough. What waits is not lost by a crash, as the log is read again from there; it is bounded in bytes and in parts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa

from connectors.sinks.base import Rejects, Rows
from connectors.sinks.delta import EVENTS
from connectors.sinks.parquet_table import ParquetTable, Part
from connectors.sinks.settings import ParquetDestination
from connectors.sinks.store import open_store

MAX_PARTS = 1_000
"""Parts (a date and a log partition of a stream) that may wait at once; past it the oldest are written."""


class ParquetWriter:
    """All the files of one Parquet destination, within one process (implements `Writer`).

    `schemas` says by stream what becomes of a new field (`evolve`, `rescue`, `reject`); what `reject` refuses goes to
    `rejects`.
    """

    def __init__(
        self,
        settings: ParquetDestination,
        log_identity: str,
        *,
        base: pa.Schema = EVENTS,
        schemas: Mapping[str, str] | None = None,
        rejects: Rejects | None = None,
        name: str = "files",
    ) -> None:
        self._settings = settings
        self._identity = log_identity
        self._base = base
        self._schemas = schemas or {}
        self._rejects = rejects
        self._name = name
        self._tables: dict[str, ParquetTable] = {}
        self._handed_over: dict[int, int] = {}
        self._proved = False
        self._engine = duckdb.connect(config={"threads": 1})
        self._engine.execute("SET TimeZone = 'UTC'")

    def stage(self, partition: int, rows: Sequence[Rows], next_offset: int) -> None:
        """See `Writer.stage`. Raises ConfigError where the store cannot keep exactly-once."""
        for part in rows:
            self._table(part.stream).stage(partition, part.table)
        self._handed_over[partition] = next_offset

    def commit(self, *, everything: bool) -> None:
        """See `Writer.commit`. The oldest rows go first; past the bounds, the parts that make the largest files."""
        now = time.monotonic()
        waiting = sorted(self._waiting(), key=lambda item: item[1].since)
        for table, part in waiting:
            if everything or self._due(part, now):
                table.write(part, self._engine)
        waiting = [item for item in waiting if item[1].rows]
        for table, part in waiting[: max(0, len(waiting) - MAX_PARTS)]:
            table.write(part, self._engine)
        held = sum(part.bytes for _, part in waiting)
        for table, part in sorted(waiting, key=lambda item: item[1].bytes, reverse=True):
            if held <= self._settings.buffer_bytes:
                break
            held -= part.bytes
            if part.rows:
                table.write(part, self._engine)

    def floor(self, partition: int) -> int | None:
        """See `Writer.floor`."""
        held = [part.first for _, part in self._waiting() if part.partition == partition and part.first is not None]
        return min(held) if held else self._handed_over.get(partition)

    def reset(self) -> None:
        """See `Writer.reset`."""
        self._tables.clear()
        if self._rejects is not None:
            self._rejects.reset(self._name)
        self._handed_over.clear()

    @property
    def held_bytes(self) -> int:
        """See `Writer.held_bytes`."""
        return sum(table.held_bytes for table in list(self._tables.values()))

    @property
    def capacity(self) -> int:
        """See `Writer.capacity`: past `buffer_bytes` the largest parts are written."""
        return self._settings.buffer_bytes

    def _due(self, part: Part, now: float) -> bool:
        limits = self._settings
        if part.rows >= limits.roll_rows or part.bytes >= limits.roll_bytes:
            return True
        age = limits.roll_age.total_seconds()
        quiet = now - part.touched >= limits.roll_idle.total_seconds()
        return now - part.since >= age or (quiet and now - part.written >= age)

    def _waiting(self) -> list[tuple[ParquetTable, Part]]:
        return [(table, part) for table in self._tables.values() for part in table.waiting()]

    def _table(self, stream: str) -> ParquetTable:
        if not self._proved:
            if not self._settings.is_local:
                from connectors.sinks.probe import prove_conditional_put  # S3's client takes a second to import

                prove_conditional_put(self._settings)
            self._proved = True
        if stream not in self._tables:
            self._tables[stream] = ParquetTable(
                open_store(self._settings, stream),
                stream,
                self._identity,
                self._base,
                schema_mode=self._schemas.get(stream, "evolve"),
                rejects=self._rejects,
                destination=self._name,
            )
        return self._tables[stream]
