"""One Delta table: rows staged, then committed together with the offsets they came from."""

from __future__ import annotations

import time
from urllib.parse import quote

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from connectors.errors import Fenced, Transient
from connectors.sinks.base import Rejects
from connectors.sinks.conform import RESCUED, conform_query, settle_json
from connectors.sinks.evolve import evolve, for_tables, without_empty_structs
from connectors.sinks.settings import DeltaDestination
from connectors.telemetry import DEAD_LETTERS, ROWS_COMMITTED, VALUES_RESCUED

_CHECKPOINT_INTERVAL = 20
"""Commits between checkpoints; the handle is opened anew after each, which keeps the cost of a commit flat."""

_OFFSET = "_offset"
_PARTITION = "_partition"


class TableWriter:
    """The table of one stream. `rows` and `bytes` wait to be committed, the oldest of them `since` (monotonic seconds).

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
        self._settings = settings
        self._stream = stream
        self._uri = settings.table_uri(stream)
        self._options = settings.storage_options()
        self._app = f"headrace/{quote(identity, safe='')}/{stream}{origin}"
        self._schema = base
        self._schema_mode = schema_mode
        self._rejects = rejects
        self._destination = destination
        self._handle: DeltaTable | None = None
        self._commits = 0
        self._committed: dict[int, int] = {}  # partition -> next offset wanted, as this process last saw or wrote it
        self._staged: list[pa.Table] = []
        self._next: dict[int, int] = {}  # partition -> next offset wanted once what is staged is committed
        self._first: dict[int, int] = {}  # partition -> lowest offset staged
        self.rows = 0
        self.bytes = 0
        self.since = 0.0

    def stage(self, partition: int, rows: pa.Table, next_offset: int) -> None:
        """Takes rows in offset order, except those below what the table has of the partition."""
        committed = self._committed_offset(partition)
        offsets = rows.column(_OFFSET).to_numpy()
        start = int(np.searchsorted(offsets, committed))
        if start == len(offsets):
            return
        if not self._staged:
            self.since = time.monotonic()
        fresh = rows.slice(start).append_column(_PARTITION, pa.array(np.full(len(offsets) - start, partition)))
        self._staged.append(fresh)
        self._first.setdefault(partition, int(offsets[start]))
        self._next[partition] = next_offset
        self.rows += fresh.num_rows
        self.bytes += fresh.nbytes

    def first_held(self, partition: int) -> int | None:
        """The lowest offset staged of the partition."""
        return self._first.get(partition)

    def reset(self) -> None:
        """Forgets what is staged, and what the table has: the table is asked again."""
        self._handle = None
        self._staged = []
        self._next, self._first, self._committed = {}, {}, {}
        self.rows = self.bytes = 0

    def commit(self, engine: duckdb.DuckDBPyConnection) -> None:
        """Writes and commits what is staged, all partitions together. Raises Fenced, Transient."""
        try:
            self._commit(engine)
        except (CommitFailedError, DeltaError, OSError) as exc:
            # Whether the commit happened is not known: after a reset it is read from the table.
            raise Transient(f"committing {self.rows} rows to {self._uri}: {exc}") from exc
        self._committed.update(self._next)
        self._staged, self._next, self._first = [], {}, {}
        self.rows = self.bytes = 0

    def _commit(self, engine: duckdb.DuckDBPyConnection) -> None:
        handle = self._open()
        if handle is not None:
            handle.update_incremental()
            self._schema = _schema_of(handle)
            self._refuse_if_moved(handle)
        by_schema: dict[bytes, list[pa.Table]] = {}
        for staged in self._staged:
            by_schema.setdefault(staged.schema.serialize().to_pybytes(), []).append(staged)
        batches = [pa.concat_tables(tables) for tables in by_schema.values()]
        schema = self._schema
        if handle is None or self._schema_mode == "evolve":
            for batch in batches:
                schema = evolve(schema, for_tables(settle_json(batch, schema, engine)))
            schema = without_empty_structs(schema)
        rows = pa.concat_tables([self._conformed(batch, schema, engine) for batch in batches])
        if handle is None:
            handle = self._create(schema)
        transactions = [Transaction(self._app_id(p), version) for p, version in sorted(self._next.items())]
        write_deltalake(
            handle,
            rows,
            mode="append",
            schema_mode="merge" if schema != self._schema else None,
            writer_properties=WriterProperties(compression="ZSTD", compression_level=1),
            commit_properties=CommitProperties(app_transactions=transactions),
        )
        self._schema = schema
        self._count(rows)
        self._commits += 1
        if self._commits % _CHECKPOINT_INTERVAL == 0:
            self._handle = None

    def _conformed(self, batch: pa.Table, schema: pa.Schema, engine: duckdb.DuckDBPyConnection) -> pa.Table:
        engine.register("batch", batch)
        try:
            rows = engine.sql(conform_query(batch.schema, schema, "batch")).to_arrow_table().cast(schema)
        finally:
            engine.unregister("batch")
        if self._schema_mode != "reject" or self._rejects is None:
            return rows
        unfit = pc.is_valid(rows.column(RESCUED))
        if pc.any(unfit).as_py():
            origin = batch.select([_PARTITION, _OFFSET]).filter(unfit)
            rejected = rows.filter(unfit)
            self._rejects.reject(rejected, origin, self._stream, self._destination, self._next, engine)
            DEAD_LETTERS.labels(self._stream, "schema").inc(rejected.num_rows)
        return rows.filter(pc.invert(unfit))

    def _count(self, rows: pa.Table) -> None:
        ROWS_COMMITTED.labels(self._destination, self._stream).inc(rows.num_rows)
        if RESCUED in rows.column_names:
            rescued = rows.num_rows - rows.column(RESCUED).null_count
            if rescued:
                VALUES_RESCUED.labels(self._destination, self._stream).inc(rescued)

    def _app_id(self, partition: int) -> str:
        return f"{self._app}/{partition}"

    def _open(self) -> DeltaTable | None:
        if self._handle is None:
            try:
                self._handle = DeltaTable(self._uri, storage_options=self._options)
            except TableNotFoundError:
                return None
            self._schema = _schema_of(self._handle)
        return self._handle

    def _create(self, schema: pa.Schema) -> DeltaTable:
        try:
            self._handle = DeltaTable.create(
                self._uri,
                schema,
                mode="error",
                partition_by=[name for name in self._settings.partition_by if name in schema.names],
                configuration={"delta.checkpointInterval": str(_CHECKPOINT_INTERVAL)},
                storage_options=self._options,
            )
        except DeltaError as exc:
            if "already exists" not in str(exc):
                raise
            raise Transient(f"creating {self._uri}: another process was first") from exc
        self._schema = schema
        return self._handle

    def _committed_offset(self, partition: int) -> int:
        if partition not in self._committed:
            try:
                handle = self._open()
                version = None if handle is None else handle.transaction_version(self._app_id(partition))
            except (DeltaError, OSError) as exc:
                raise Transient(f"opening {self._uri}: {exc}") from exc
            self._committed[partition] = 0 if version is None else version
        return self._committed[partition]

    def _refuse_if_moved(self, handle: DeltaTable) -> None:
        for partition in self._next:
            version = handle.transaction_version(self._app_id(partition)) or 0
            if version != self._committed[partition]:
                raise Fenced(
                    f"{self._uri}: another dataflow has committed partition {partition} up to offset {version}",
                    remedy="stop the other `headrace run`; only one may write a log's tables",
                )


def _schema_of(handle: DeltaTable) -> pa.Schema:
    """The table's schema in Arrow, lists' elements named as everywhere here."""
    return pa.schema([pa.field(field.name, _plain(field.type)) for field in pa.schema(handle.schema().to_arrow())])


def _plain(of: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(of):
        return pa.struct([pa.field(child.name, _plain(child.type)) for child in of])
    if pa.types.is_list(of):
        return pa.list_(pa.field("element", _plain(of.value_type)))
    if pa.types.is_large_string(of) or pa.types.is_string_view(of):
        return pa.string()
    return of
