"""One Delta table: rows staged, then committed together with the offsets they came from."""

from __future__ import annotations

from urllib.parse import quote

import duckdb
import msgspec
import pyarrow as pa
from deltalake import DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from connectors.errors import Fenced, Transient
from connectors.logger import get_logger
from connectors.sinks.base import Rejects
from connectors.sinks.delta_files import append_rows
from connectors.sinks.evolve import plain_schema
from connectors.sinks.fitted import Fitting, by_schema
from connectors.sinks.settings import DeltaDestination
from connectors.sinks.staged import StagedRows
from connectors.sinks.store import Store, open_store

_log = get_logger()

_CHECKPOINT_INTERVAL = 20
"""Commits between checkpoints; the handle is opened anew after each, which keeps the cost of a commit flat."""


class TableWriter(StagedRows):
    """The table of one stream.

    `origin` tells apart writers of one table that take different rows of the same offsets.
    """

    def __init__(
        self,
        settings: DeltaDestination,
        stream: str,
        identity: str,
        base: pa.Schema,
        *,
        schema_mode: str = "evolve",
        rejects: Rejects | None = None,
        destination: str = "lake",
        origin: str = "",
    ) -> None:
        super().__init__()
        self._settings = settings
        self._stream = stream
        self._uri = settings.table_uri(stream)
        self._options = settings.storage_options()
        self._app = f"headrace/{quote(identity, safe='')}/{stream}{origin}"
        self._schema = base
        self._fitting = Fitting(stream, destination, schema_mode, rejects)
        self._store: Store | None = None
        self._handle: DeltaTable | None = None
        self._commits = 0

    def stage(self, partition: int, rows: pa.Table, next_offset: int) -> None:
        """Takes rows in offset order, except those below what the table has of the partition."""
        self._take(partition, rows, next_offset, self.committed(partition))

    def committed(self, partition: int) -> int:
        """The next offset of the partition that the table wants. Raises Transient."""
        if partition not in self._committed:
            self._committed[partition] = self._version_of(self._app_id(partition))
        return self._committed[partition]

    def reset(self) -> None:
        """Forgets what is staged, and what the table has: the table is asked again."""
        self._handle = None
        self._committed = {}
        self._let_go()

    def commit(self, engine: duckdb.DuckDBPyConnection) -> None:
        """Writes and commits what is staged, all partitions together. Raises Fenced, Transient."""
        try:
            self._commit(engine)
        except (CommitFailedError, DeltaError, OSError) as exc:
            # Whether the commit happened is not known: after a reset it is read from the table.
            raise Transient(f"committing {self.rows} rows to {self._uri}: {exc}") from exc
        self._took()
        self._commits += 1
        if self._commits % _CHECKPOINT_INTERVAL == 0:
            self._checkpoint()

    def commit_surely(self, engine: duckdb.DuckDBPyConnection) -> None:
        """As `commit`, but where that fails the table is asked at once: it may have happened, and only the answer be lost."""
        before, after = dict(self._committed), dict(self._next)
        try:
            self.commit(engine)
        except Transient:
            self.reset()
            if not all(before[p] < offset <= self.committed(p) for p, offset in after.items()):
                raise

    def _commit(self, engine: duckdb.DuckDBPyConnection) -> None:
        handle = self._open()
        if handle is not None:
            handle.update_incremental()
            self._schema = _schema_of(handle)
            self._refuse_if_moved(handle)
        batches = by_schema(self._staged)
        schema = self._fitting.grown(self._schema, batches, engine, new=handle is None)
        rows = self._fitting.rows(batches, schema, self._next, engine)
        if handle is None:
            handle = self._create(schema)
        transactions = [Transaction(app, version) for app, version in self._marks().items()]
        append_rows(handle, rows, transactions, lambda: self._files(handle), grows=schema != self._schema)
        self._schema = schema
        self._fitting.count(rows)

    def _checkpoint(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            try:
                handle.update_incremental()
                handle.create_checkpoint()
            except (DeltaError, OSError) as exc:  # readers take longer, and nothing else: the next may succeed
                _log.warning("no checkpoint was written", table=self._uri, reason=str(exc))

    def _files(self, handle: DeltaTable) -> Store:
        """The table's files, where its log says that the table is: it reads an address in its own way."""
        if self._store is None:
            place = msgspec.structs.replace(self._settings, uri=handle.table_uri)
            self._store = open_store(place, self._stream)
        return self._store

    def _app_id(self, partition: int) -> str:
        return f"{self._app}/{partition}"

    def _marks(self) -> dict[str, int]:
        """What a commit says about how far the table is: the versions of its `txn` actions, by their `appId`."""
        return {self._app_id(partition): offset for partition, offset in sorted(self._next.items())}

    def _open(self) -> DeltaTable | None:
        if self._handle is None:
            try:
                self._handle = DeltaTable(self._uri, storage_options=self._options)
            except TableNotFoundError:
                return None
            self._schema = _schema_of(self._handle)
        return self._handle

    def _create(self, schema: pa.Schema) -> DeltaTable:
        log_kept = self._settings.maintenance.keep_log
        try:
            self._handle = DeltaTable.create(
                self._uri,
                schema,
                mode="error",
                partition_by=[name for name in self._settings.partition_by if name in schema.names],
                configuration={
                    "delta.checkpointInterval": str(_CHECKPOINT_INTERVAL),
                    "delta.logRetentionDuration": f"interval {round(log_kept.total_seconds())} seconds",
                },
                storage_options=self._options,
            )
        except DeltaError as exc:
            if "already exists" not in str(exc):
                raise
            raise Transient(f"creating {self._uri}: another process was first") from exc
        self._schema = schema
        return self._handle

    def _version_of(self, app: str) -> int:
        """Of the last `txn` action of an `appId`; 0 before the first. Raises Transient."""
        try:
            handle = self._open()
            version = None if handle is None else handle.transaction_version(app)
        except (DeltaError, OSError) as exc:
            raise Transient(f"opening {self._uri}: {exc}") from exc
        return 0 if version is None else version

    def _refuse_if_moved(self, handle: DeltaTable) -> None:
        for partition in self._next:
            version = handle.transaction_version(self._app_id(partition)) or 0
            if version != self._committed[partition]:
                raise Fenced(
                    f"{self._uri}: another dataflow has committed partition {partition} up to offset {version}",
                    remedy="stop the other `headrace run`; only one may write a log's tables",
                )


def _schema_of(handle: DeltaTable) -> pa.Schema:
    return plain_schema(pa.schema(handle.schema().to_arrow()))
