"""Reads what landed: a stream's table as Arrow, or all of them as DuckDB views.

Reading sees the last commit and disturbs nothing: the dataflow may go on writing meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from connectors.errors import HeadraceError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from deltalake import DeltaTable

    from connectors.sinks.settings import DeltaDestination
    from flows.config import Config


def table(
    stream: str,
    *,
    config: str | Path | None = None,
    columns: Sequence[str] | None = None,
    where: str | None = None,
) -> pa.Table:
    """The rows of `stream` in the lake, as an Arrow table with the columns of the stream's Delta table.

    `config` is the configuration file (default: `HEADRACE_CONFIG`, else `./headrace.yaml`). `columns` reads only those,
    `where` (SQL over the table's columns) only the rows for which it is true. Raises HeadraceError where the stream is
    unknown or nothing has landed yet.
    """
    import pyarrow as pa

    reader = _open(_load(config), stream).scan(columns=list(columns) if columns else None, predicate=where)
    rows = pa.table(reader)
    return rows.cast(pa.schema([pa.field(f.name, _plain(f.type), f.nullable) for f in rows.schema]))


def connect(config: str | Path | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with a view for each stream that has a table, named as the stream is.

    The views are as of now: connect again to see later rows. Tables on a local disk are read file by file as a query
    needs them; tables in S3 are read into memory here.
    """
    import duckdb

    loaded = _load(config)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for stream in loaded.streams:
        try:
            found = _open(loaded, stream)
        except NothingLanded:
            continue
        files = found.file_uris()
        if not files or "://" in files[0]:
            connection.register(stream, table(stream, config=loaded.file))
            continue
        listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
        # The partition columns stand in the files' paths alone; union_by_name, as old files lack newer columns.
        connection.execute(
            f'CREATE VIEW "{stream}" AS FROM read_parquet([{listed}], hive_partitioning = true, union_by_name = true)'
        )
    return connection


class NothingLanded(HeadraceError):
    """The stream's table does not exist yet."""


def _load(config: str | Path | None) -> Config:
    import os

    from flows.config import load

    return load(Path(config or os.environ.get("HEADRACE_CONFIG") or "headrace.yaml"))


def _open(config: Config, stream: str) -> DeltaTable:
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    if stream not in config.streams:
        known = ", ".join(sorted(config.streams)) or "none"
        raise HeadraceError(f"there is no stream '{stream}' in {config.file}", remedy=f"its streams: {known}")
    destination = _lake(config)
    uri = destination.table_uri(stream)
    try:
        return DeltaTable(uri, storage_options=destination.storage_options())
    except TableNotFoundError:
        raise NothingLanded(
            f"nothing of the stream '{stream}' has landed yet ({uri})",
            remedy="send an event, and check that `headrace up` is running",
        ) from None


def _lake(config: Config) -> DeltaDestination:
    """The destination `lake`, or else the first that is a lake."""
    from connectors.sinks.settings import DeltaDestination

    for destination in (config.destinations.get("lake"), *config.destinations.values()):
        if isinstance(destination, DeltaDestination):
            return destination
    raise HeadraceError(
        f"no destination in {config.file} is a Delta table", remedy="add one: `lake: {type: delta, uri: …}`"
    )


def _plain(of: pa.DataType) -> pa.DataType:
    """The type without the view layouts that the reader prefers: pandas and older Arrow readers know the plain ones."""
    import pyarrow as pa

    if pa.types.is_struct(of):
        return pa.struct([pa.field(f.name, _plain(f.type), f.nullable) for f in of])
    if pa.types.is_list(of) or pa.types.is_large_list(of) or pa.types.is_list_view(of):
        return pa.list_(pa.field(of.value_field.name, _plain(of.value_type), of.value_field.nullable))
    if pa.types.is_string_view(of):
        return pa.string()
    if pa.types.is_binary_view(of):
        return pa.binary()
    return of
