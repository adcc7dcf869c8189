"""The data files of a Delta table, and the actions that add them: encoded by Arrow, which takes half the time that Delta's
own writer takes for the same file.

A file's name is its own, and nobody sees the file before a commit adds it; one whose commit never comes is deleted by
`vacuum`. Reference: the Delta transaction protocol (PROTOCOL.md), "Add File and Remove File", "Per-file Statistics",
"Partition Value Serialization".
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import MAXYEAR, UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.transaction import AddAction

from connectors.sinks.store import Store

INDEXED = 32
"""Leaf columns that have statistics, the first of a table: Delta's `dataSkippingNumIndexedCols`."""

_LEVEL = 1  # of zstd: compaction writes the files anew
_PLAIN = 2  # `minWriterVersion` of the tables that `DeltaTable.create` makes
_LONGEST = 64  # characters of a text in the statistics
_MILLISECOND = timedelta(milliseconds=1)
_json = msgspec.json.Encoder(decimal_format="number")


def append_rows(
    table: DeltaTable, rows: pa.Table, transactions: list[Transaction], store: Callable[[], Store], *, grows: bool
) -> None:
    """Adds the rows and `transactions` in one commit. `store` has the table's files. Raises Transient, and Delta's own.

    Where columns come with the rows (the table `grows`), and where it may ask more of its rows than to fit its columns,
    Delta's own writer does it.
    """
    if grows or table.protocol().min_writer_version > _PLAIN:
        write_deltalake(
            table,
            rows,
            mode="append",
            schema_mode="merge" if grows else None,
            writer_properties=WriterProperties(compression="ZSTD", compression_level=_LEVEL),
            commit_properties=CommitProperties(app_transactions=transactions),
        )
        return
    partition_by = table.metadata().partition_columns
    files = _written(rows, partition_by, store())
    counted = {"num_added_rows": rows.num_rows, "num_added_files": len(files)}
    properties = CommitProperties({"operationMetrics": counted}, app_transactions=transactions)
    table.create_write_transaction(files, "append", table.schema(), partition_by, commit_properties=properties)


def _written(rows: pa.Table, partition_by: Sequence[str], store: Store) -> list[AddAction]:
    """Writes the rows, a file a partition; what adds them to the table."""
    added = []
    for values, part in _by_partition(rows, partition_by):
        directory = "".join(f"{name}={_directory(value)}/" for name, value in values.items())
        name = f"{directory}part-{uuid4()}.zstd.parquet"
        content, stats = _encoded(part.drop_columns(list(values)))
        store.add(name, content)
        now = time.time_ns() // 1_000_000
        added.append(AddAction(name, content.size, values, now, True, stats))
    return added


def _by_partition(rows: pa.Table, names: Sequence[str]) -> Iterator[tuple[dict[str, str | None], pa.Table]]:
    """The rows of each partition, in order, with its values as Delta writes them."""
    if not names:
        if rows.num_rows:
            yield {}, rows
        return
    places = np.zeros(rows.num_rows, np.int64)
    for name in names:
        codes = rows.column(name).combine_chunks().dictionary_encode("encode")
        places = places * max(1, len(codes.dictionary)) + codes.indices.to_numpy()
    found, first, inverse = np.unique(places, return_index=True, return_inverse=True)
    order = None if len(found) == 1 else np.argsort(inverse, kind="stable")
    ends = np.cumsum(np.bincount(inverse))
    for number, place in enumerate(first):
        row = rows.slice(int(place), 1)
        values = {name: _serialized(row.column(name)[0].as_py()) for name in names}
        start = 0 if number == 0 else int(ends[number - 1])
        yield values, rows if order is None else rows.take(pa.array(order[start : ends[number]]))


def _serialized(value: object) -> str | None:
    return value.isoformat() if isinstance(value, date) else None if value is None else str(value)


def _directory(value: str | None) -> str:
    return "__HIVE_DEFAULT_PARTITION__" if value is None else quote(value, safe="")


def _encoded(rows: pa.Table) -> tuple[pa.Buffer, str]:
    """A Parquet file in memory, and its statistics as the action has them."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, rows.schema, compression="zstd", compression_level=_LEVEL) as writer:
        writer.write_table(rows)
    content = sink.getvalue()
    return content, _statistics(pq.read_metadata(pa.BufferReader(content)), rows.schema)


def _statistics(file: pq.FileMetaData, schema: pa.Schema) -> str:
    least: dict[str, Any] = {}
    most: dict[str, Any] = {}
    nulls: dict[str, Any] = {}
    groups = [file.row_group(number) for number in range(file.num_row_groups)]
    for place, path in enumerate(_leaves(schema)):
        if place >= INDEXED:
            break
        of = [group.column(place).statistics for group in groups]
        if path is None or not all(one is not None and one.has_null_count for one in of):
            continue
        _put(nulls, path, sum(one.null_count for one in of))
        valued = [one for one, group in zip(of, groups, strict=True) if one.null_count < group.num_rows]
        if valued and all(one.has_min_max for one in valued):
            _put(least, path, _bound(min(one.min for one in valued), up=False))
            _put(most, path, _bound(max(one.max for one in valued), up=True))
    return _json.encode(
        {"numRecords": file.num_rows, "minValues": least, "maxValues": most, "nullCount": nulls}
    ).decode()


def _leaves(fields: pa.Schema | pa.StructType, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...] | None]:
    """The path of each of the file's columns, in its order; None of one inside a list."""
    for field in fields:
        path = (*above, field.name)
        if pa.types.is_struct(field.type):
            yield from _leaves(field.type, path)
        elif pa.types.is_list(field.type):
            element = field.type.value_type
            while pa.types.is_list(element):
                element = element.value_type
            inside = _leaves(element) if pa.types.is_struct(element) else [path]
            yield from (None for _ in inside)
        else:
            yield path


def _put(tree: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    if value is None:
        return
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _bound(value: object, *, up: bool) -> object:
    """A bound as JSON has it, no tighter than `value`; None where there is none."""
    match value:
        case str():
            return value if len(value) <= _LONGEST else None if up else value[:_LONGEST]
        case datetime():
            if value.tzinfo is None:
                return None
            # Readers know milliseconds.
            whole = value - timedelta(microseconds=value.microsecond % 1000)
            if up and whole != value:
                if whole.year == MAXYEAR:
                    return None
                whole += _MILLISECOND
            return whole.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case float():
            return value if math.isfinite(value) else None
        case bool() | int() | Decimal():
            return value
        case _:
            return None
