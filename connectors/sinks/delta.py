"""Delta tables, one a stream, each event in its table exactly once.

The rows and, for every log partition that they came from, a `txn` action whose version is the next offset wanted, are
one commit: after a crash the table itself says what it has, and rows below are skipped. Several partitions, and rows of
many batches, go into one commit, because commits are the scarce resource; a table with nothing new commits nothing.

A commit is refused (`Fenced`) where another process has moved one of our partitions on: two dataflows on one log would
otherwise write every event twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pyarrow as pa

from connectors.sinks.base import Rejects
from connectors.sinks.delta_table import TableWriter
from connectors.sinks.settings import DeltaDestination
from connectors.sinks.tables import TablesWriter

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

ROLLUP = pa.schema(
    [
        ("event_id", pa.string()),
        ("window_start", pa.timestamp("us", "UTC")),
        ("window_end", pa.timestamp("us", "UTC")),
        ("_rescued", pa.string()),
        ("date", pa.date32()),
    ]
)
"""A rollup's table before its first row: what it groups by and its aggregates become columns with that row."""


class DeltaWriter(TablesWriter[TableWriter]):
    """All the tables of one Delta destination, within one process (implements `Writer`).

    `rollups` are the tables whose rows are a rollup's (`ROLLUP`). `schemas` says by stream what becomes of a new field
    (`evolve`, `rescue`, `reject`); what `reject` refuses goes to `rejects`.
    """

    def __init__(
        self,
        settings: DeltaDestination,
        log_identity: str,
        *,
        base: pa.Schema = EVENTS,
        rollups: Collection[str] = (),
        schemas: Mapping[str, str] | None = None,
        rejects: Rejects | None = None,
        name: str = "lake",
    ) -> None:
        super().__init__(settings.interval.total_seconds(), settings.commit_rows, settings.commit_bytes)
        self._settings = settings
        self._identity = log_identity
        self._base = base
        self._rollups = frozenset(rollups)
        self._schemas = schemas or {}
        self._rejects = rejects
        self._name = name
        self._proved = False

    def reset(self) -> None:
        """See `Writer.reset`."""
        super().reset()
        if self._rejects is not None:
            self._rejects.reset(self._name)

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
                ROLLUP if stream in self._rollups else self._base,
                schema_mode=self._schemas.get(stream, "evolve"),
                rejects=self._rejects,
                destination=self._name,
            )
        return self._tables[stream]
