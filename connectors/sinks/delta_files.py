"""The data files of a Delta table, and the actions that add them: encoded by Arrow, which takes half the time that Delta's
own writer takes for the same file.

A file's name is its own, and nobody looks for the file before a commit adds it; one whose commit never comes is deleted
by `vacuum`. Reference: the Delta transaction protocol (PROTOCOL.md), "Add File and Remove File", "Partition Value
Serialization", "Requirements for Writers".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import quote
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.transaction import AddAction

from connectors.sinks.delta_statistics import statistics
from connectors.sinks.store import Store

LONGEST_VALUE = 200
"""Characters of a partition's value, escaped, in a directory's name. It is for people: the table's log has the values."""

_MANY = 1_000  # rows a file from which on Arrow takes less time: a commit of actions alone has to be read again
_LEVEL = 1  # of zstd: compaction writes the files anew
_DICTIONARY_BYTES = 524_288  # of a column's values: thousands of hashes have room, ids outgrow it soon
_FILE_BYTES = 536_870_912  # of rows in memory: such a file has 50 to 100 MB
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


def append_rows(
    table: DeltaTable, rows: pa.Table, transactions: list[Transaction], store: Callable[[], Store], *, grows: bool
) -> None:
    """Adds the rows and `transactions` in one commit. `store` gives the place of the table's files.

    Where columns come with the rows (the table `grows`), where rows are few, and where the table, made by another program,
    asks more of its rows or files than to fit its columns, Delta's own writer does it. Raises Transient, and Delta's own.
    """
    partition_by = table.metadata().partition_columns
    files_at_least = max((pc.count_distinct(rows.column(name), "all").as_py() for name in partition_by), default=1)
    if grows or rows.num_rows < _MANY * files_at_least or not _is_plain(table):
        write_deltalake(
            table,
            rows,
            mode="append",
            schema_mode="merge" if grows else None,
            writer_properties=WriterProperties(compression="ZSTD", compression_level=_LEVEL),
            commit_properties=CommitProperties(app_transactions=transactions),
            post_commithook_properties=_NOTHING_AFTER,
        )
        return
    added = _written(rows, partition_by, store())
    counted = {"num_added_rows": rows.num_rows, "num_added_files": len(added)}
    properties = CommitProperties({"operationMetrics": counted}, app_transactions=transactions)
    table.create_write_transaction(
        added,
        "append",
        table.schema(),
        partition_by,
        commit_properties=properties,
        post_commithook_properties=_NOTHING_AFTER,
    )


def _is_plain(table: DeltaTable) -> bool:
    """Whether a row of the table's columns is all that it asks for: no constraint, no column made of others, no mapping."""
    about = table.metadata()
    schema = pa.schema(table.schema().to_arrow())
    return (
        table.protocol().min_writer_version <= _PLAIN
        and set(about.configuration) <= _HARMLESS
        and all(_asks_nothing(field) for field in schema)
        and all(_is_text_or_date(schema.field(name).type) for name in about.partition_columns)
    )


def _asks_nothing(field: pa.Field) -> bool:
    of = field.type
    children = list(of) if pa.types.is_struct(of) else [of.value_field] if pa.types.is_list(of) else []
    known = bool(children) or not pa.types.is_nested(of)
    return known and field.nullable and not field.metadata and all(_asks_nothing(child) for child in children)


def _is_text_or_date(of: pa.DataType) -> bool:
    return any(is_of(of) for is_of in (pa.types.is_string, pa.types.is_string_view, pa.types.is_large_string)) or bool(
        pa.types.is_date32(of)
    )


def _written(rows: pa.Table, partition_by: Sequence[str], store: Store) -> list[AddAction]:
    """Writes the rows, a file a partition, more where they are many; what adds them to the table."""
    added = []
    length = max(1, -(-rows.num_rows // max(1, -(-rows.nbytes // _FILE_BYTES))))
    for start in range(0, rows.num_rows, length):
        for values, part in _by_partition(rows.slice(start, length), partition_by):
            directory = "".join(f"{name}={_directory(value)}/" for name, value in values.items())
            name = f"{directory}part-{uuid4()}.zstd.parquet"
            content, stats = _encoded(part.drop_columns(list(values)))
            store.add(name, content)
            added.append(AddAction(name, content.size, values, time.time_ns() // 1_000_000, True, stats))
    return added


def _by_partition(rows: pa.Table, names: Sequence[str]) -> Iterator[tuple[dict[str, str | None], pa.Table]]:
    """The rows of each partition, in order, with its values as Delta writes them."""
    codes = {name: rows.column(name).combine_chunks().dictionary_encode("encode") for name in names}
    texts = {name: code.dictionary.cast(pa.string()).to_pylist() for name, code in codes.items()}
    if all(len(of) == 1 for of in texts.values()):
        yield {name: of[0] or None for name, of in texts.items()}, rows
        return
    places = np.zeros(rows.num_rows, np.int64)
    for code in codes.values():
        places = places * len(code.dictionary) + code.indices.to_numpy()
    _, first, inverse = np.unique(places, return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    ends = np.cumsum(np.bincount(inverse))
    for row, start, end in zip(first.tolist(), [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        # An empty text is a null to Delta, as to all its writers.
        values = {name: texts[name][code.indices[row].as_py()] or None for name, code in codes.items()}
        yield values, rows.take(pa.array(order[start:end]))


def _directory(value: str | None) -> str:
    return "__HIVE_DEFAULT_PARTITION__" if value is None else quote(value, safe="")[:LONGEST_VALUE]


def _encoded(rows: pa.Table) -> tuple[pa.Buffer, str]:
    """A Parquet file in memory, and its statistics as the action has them."""
    sink = pa.BufferOutputStream()
    about: list[pq.FileMetaData] = []
    settings = {"compression": "zstd", "compression_level": _LEVEL, "dictionary_pagesize_limit": _DICTIONARY_BYTES}
    with pq.ParquetWriter(sink, rows.schema, metadata_collector=about, **settings) as writer:
        writer.write_table(rows)
    return sink.getvalue(), statistics(about[0], rows)
