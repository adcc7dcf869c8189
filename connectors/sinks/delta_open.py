"""A Delta table as a process that appends to it knows it: its columns, how far it is, and how rows come to it.

Rows become files of ours and one commit of ours (`delta_files`, `delta_log`), which costs the same however long the
table's history is. What is seldom is left to deltalake: to open the table, to add columns, to write a checkpoint, and the
rows of tables that other programs made and that ask more of a row than to fit the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)

from connectors.sinks.delta_files import LEVEL, written
from connectors.sinks.delta_log import LogEnd
from connectors.sinks.evolve import plain_schema
from connectors.sinks.store import Store

_NOTHING_AFTER = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
"""What a commit does once it is there: even to find that nothing is due Delta loads the table anew."""

_PLAIN = 2  # `minWriterVersion` of the tables that `DeltaTable.create` makes
_HARMLESS = {
    "delta.checkpointInterval",
    "delta.deletedFileRetentionDuration",
    "delta.enableExpiredLogCleanup",
    "delta.logRetentionDuration",
}
"""Table properties that ask nothing of a data file or its action."""

_NAME, _KEY = 255, 900  # bytes of a directory's name, and of a key in S3 beside that of the file itself


class OpenTable:
    """`schema` are the table's columns (`plain_schema`). The methods raise Transient, and Delta's own errors."""

    def __init__(self, handle: DeltaTable, open_again: Callable[[], DeltaTable], store: Callable[[str], Store]) -> None:
        """`store` gives the place of the files of a table at an address."""
        self.uri: str = handle.table_uri
        self._open_again = open_again
        self._store: Callable[[], Store] = partial(store, self.uri)
        self._handle: DeltaTable | None = None
        self._longest = _NAME if "s3://" not in self.uri and "s3a://" not in self.uri else _KEY - len(self.uri)
        self._hold(handle)

    def advance(self) -> bool:
        """Takes note of what others have committed; False where the table has to be opened anew."""
        return self._end.advance()

    def offset(self, app: str) -> int:
        """The version of the newest `txn` action of an `appId` that is known; 0 before the first."""
        known = self._end.offsets.get(app)
        return known if known is not None else self._opened().transaction_version(app) or 0

    def unwritable(self, rows: pa.Table) -> pa.ChunkedArray | None:
        """Why each of the rows cannot be written, or null; None where all can.

        Delta's own writer has a partition's whole value, escaped, in the name of its files' directory. Ours has the
        beginning of it: the table's log says the value.
        """
        if self._is_plain or "received_at" not in rows.column_names:
            return None
        whys = [_too_long(rows[name], name, self._longest) for name in self._partition_by]
        return pc.coalesce(*whys) if any(why.null_count < len(why) for why in whys) else None

    def append(self, rows: pa.Table, offsets: Mapping[str, int], *, grows: bool) -> None:
        """Adds rows, and a `txn` action for each of `offsets` by `appId`, in one commit.

        Where columns come with the rows (the table `grows`) they are added by a commit before it.
        """
        if self._is_plain and grows:
            self._write(rows.slice(0, 0), {}, grows=True)
        if self._is_plain:
            added = written(rows, self._partition_by, self._store())
            self._end.commit(added, offsets, rows.num_rows, self._partition_by)
            self._handle = None
        else:
            self._write(rows, offsets, grows=grows)

    def _opened(self) -> DeltaTable:
        """Delta's own handle: some 40 kB, which a table that our commits go to seldom needs again."""
        if self._handle is None:
            self._handle = self._open_again()
        return self._handle

    def _hold(self, handle: DeltaTable) -> None:
        self._handle = handle
        about = handle.metadata()
        schema = pa.schema(handle.schema().to_arrow())
        self.schema = plain_schema(schema)
        self._partition_by = about.partition_columns
        self._is_plain = (
            handle.protocol().min_writer_version <= _PLAIN
            and set(about.configuration) <= _HARMLESS
            and all(_asks_nothing(field) for field in schema)
            and all(_is_text_or_date(schema.field(name).type) for name in about.partition_columns)
        )
        self._end = LogEnd(self._store, handle.version())

    def _write(self, rows: pa.Table, offsets: Mapping[str, int], *, grows: bool) -> None:
        """By Delta's own writer."""
        handle = self._opened()
        handle.update_incremental()
        write_deltalake(
            handle,
            rows,
            mode="append",
            schema_mode="merge" if grows else None,
            writer_properties=WriterProperties(compression="ZSTD", compression_level=LEVEL),
            commit_properties=CommitProperties(app_transactions=[Transaction(*each) for each in offsets.items()]),
            post_commithook_properties=_NOTHING_AFTER,
        )
        self._hold(handle)


def _too_long(column: pa.ChunkedArray, name: str, longest: int) -> pa.ChunkedArray:
    """For each value why no directory can be named after it, or null."""
    values = column.unique()
    long = [v for v in values.to_pylist() if v is not None and len(f"{name}={quote(str(v), safe='')}") > longest]
    why = (
        f"its {name} is too long for the name of a directory: another program made a table of this kind, or changed it"
        f" since, and its partitions are named by the whole value; shorten {name} with a `set` step, then replay"
    )
    return pc.if_else(pc.is_in(column, value_set=pa.array(long, column.type)), why, pa.scalar(None, pa.string()))


def _asks_nothing(field: pa.Field) -> bool:
    of = field.type
    children = list(of) if pa.types.is_struct(of) else [of.value_field] if pa.types.is_list(of) else []
    known = bool(children) or not pa.types.is_nested(of)
    return known and field.nullable and not field.metadata and all(_asks_nothing(child) for child in children)


def _is_text_or_date(of: pa.DataType) -> bool:
    return any(is_of(of) for is_of in (pa.types.is_string, pa.types.is_string_view, pa.types.is_large_string)) or bool(
        pa.types.is_date32(of)
    )
