"""One Delta table: rows staged, then committed together with the offsets they came from."""

from __future__ import annotations

from urllib.parse import quote

import duckdb
import msgspec
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from connectors.errors import Fenced, Transient
from connectors.logger import get_logger
from connectors.sinks.base import Rejects
from connectors.sinks.delta_open import OpenTable
from connectors.sinks.fitted import Fitting, by_schema
from connectors.sinks.settings import DeltaDestination
from connectors.sinks.staged import StagedRows
from connectors.sinks.store import Store, open_store

_log = get_logger()

_CHECKPOINT_INTERVAL = 20
"""Commits between checkpoints: what a reader, and a restart, has to read beside the newest one."""

_FILES_A_COMMIT = 100
"""Of a table with more files than these for each commit between checkpoints, which list them all, there are more commits."""


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
        self._base = base
        self._fitting = Fitting(stream, destination, schema_mode, rejects)
        self._store: Store | None = None
        self._table: OpenTable | None = None
        self._until_checkpoint = _CHECKPOINT_INTERVAL

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
        self._table = None
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
        self._until_checkpoint -= 1
        if self._until_checkpoint <= 0:
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
        table = self._open()
        if table is not None and not table.advance():
            self._table = None
            table = self._open()
        if table is not None:
            self._refuse_if_moved()
        known = self._base if table is None else table.schema
        batches = by_schema(self._staged)
        schema = self._fitting.grown(known, batches, engine, new=table is None)
        unwritable = None if table is None else table.unwritable
        rows = self._fitting.rows(batches, schema, self._next, engine, unwritable=unwritable)
        if table is None:
            table = self._create(schema)
        table.append(rows, self._marks(), grows=schema != table.schema)
        self._fitting.count(rows)

    def _checkpoint(self) -> None:
        self._until_checkpoint = _CHECKPOINT_INTERVAL
        try:
            handle = self._handle()
            handle.create_checkpoint()
            self._until_checkpoint = max(_CHECKPOINT_INTERVAL, len(handle.file_uris()) // _FILES_A_COMMIT)
        except (DeltaError, OSError) as exc:  # readers take longer, and nothing else: the next may succeed
            _log.warning("no checkpoint was written", table=self._uri, reason=str(exc))

    def _held(self, handle: DeltaTable) -> OpenTable:
        self._table = OpenTable(handle, self._handle, self._files)
        return self._table

    def _handle(self) -> DeltaTable:
        return DeltaTable(self._uri, storage_options=self._options)

    def _files(self, uri: str) -> Store:
        """The table's files, where its log says that the table is: it reads an address in its own way."""
        if self._store is None:
            place = msgspec.structs.replace(self._settings, uri=uri)
            self._store = open_store(place, self._stream)
        return self._store

    def _app_id(self, partition: int) -> str:
        return f"{self._app}/{partition}"

    def _marks(self) -> dict[str, int]:
        """What a commit says about how far the table is: the versions of its `txn` actions, by their `appId`."""
        return {self._app_id(partition): offset for partition, offset in sorted(self._next.items())}

    def _open(self) -> OpenTable | None:
        if self._table is None:
            try:
                return self._held(self._handle())
            except TableNotFoundError:
                return None
        return self._table

    def _create(self, schema: pa.Schema) -> OpenTable:
        log_kept = self._settings.maintenance.keep_log
        try:
            handle = DeltaTable.create(
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
        return self._held(handle)

    def _version_of(self, app: str) -> int:
        """Of the last `txn` action of an `appId`; 0 before the first. Raises Transient."""
        try:
            table = self._open()
            return 0 if table is None else table.offset(app)
        except (DeltaError, OSError) as exc:
            raise Transient(f"opening {self._uri}: {exc}") from exc

    def _refuse_if_moved(self) -> None:
        for partition in self._next:
            version = self._version_of(self._app_id(partition))
            if version != self._committed[partition]:
                raise Fenced(
                    f"{self._uri}: another dataflow has committed partition {partition} up to offset {version}",
                    remedy="stop the other `headrace run`; only one may write a log's tables",
                )
