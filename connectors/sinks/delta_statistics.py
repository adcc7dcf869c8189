"""What a Delta table's log says of a data file: how many rows, how many nulls, and between which bounds values lie.

Readers leave out files by the bounds, and some answer `min` and `max` by them alone. So a bound is exact, or left out: that
of a long text, of numbers among which is a NaN (the greatest of them, which Parquet's statistics pass over), of what JSON
has no word for. But moments are told in milliseconds, as the protocol has it, whose readers know that there is more behind.
Reference: the Delta transaction protocol (PROTOCOL.md), "Per-file Statistics".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from connectors.columns import Path

INDEXED = 32
"""Leaf columns that have statistics, the first of a table: Delta's `dataSkippingNumIndexedCols`."""

_LONGEST = 64  # characters of a text that is a bound
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_json = msgspec.json.Encoder()


def statistics(file: pq.FileMetaData, rows: pa.Table) -> str:
    """The `stats` of the action that adds `file`, whose rows are `rows`: JSON."""
    least: dict[str, Any] = {}
    most: dict[str, Any] = {}
    nulls: dict[str, Any] = {}
    groups = [file.row_group(number) for number in range(file.num_row_groups)]
    for place, leaf in enumerate(islice(_leaves(rows.schema), INDEXED)):
        of = [group.column(place).statistics for group in groups]
        if leaf is None or not all(one is not None and one.has_null_count for one in of):
            continue
        path, kind = leaf
        _put(nulls, path, sum(one.null_count for one in of))
        valued = [one for one, group in zip(of, groups, strict=True) if one.null_count < group.num_rows]
        if valued and all(one.has_min_max for one in valued):
            bounds = [_values(one, kind) for one in valued]
            _put(least, path, _bound(min(low for low, _ in bounds), kind, up=False))
            if not (pa.types.is_floating(kind) and _has_nan(rows, path)):
                _put(most, path, _bound(max(high for _, high in bounds), kind, up=True))
    stats = {"numRecords": file.num_rows, "minValues": least, "maxValues": most, "nullCount": nulls}
    return _json.encode(stats).decode()


def _leaves(fields: pa.Schema | pa.StructType, above: Path = ()) -> Iterator[tuple[Path, pa.DataType] | None]:
    """Path and type of each of the file's columns, in its order; None of one inside a list."""
    for field in fields:
        path = (*above, field.name)
        if pa.types.is_struct(field.type):
            yield from _leaves(field.type, path)
        elif pa.types.is_list(field.type):
            yield from (None for _ in _leaves(pa.struct([field.type.value_field])))
        else:
            yield path, field.type


def _values(one: pq.Statistics, kind: pa.DataType) -> tuple[Any, Any]:
    """The least and the greatest value, in their order. Of moments the number: not all of them are Python's."""
    return (one.min_raw, one.max_raw) if pa.types.is_temporal(kind) else (one.min, one.max)


def _bound(value: Any, kind: pa.DataType, *, up: bool) -> object:
    """A bound as JSON has it; None where there is none."""
    match value:
        case int() if pa.types.is_temporal(kind):
            return _moment(value, kind, up=up)
        case str() if len(value) <= _LONGEST:
            return value
        case float() if math.isfinite(value):
            return value
        case bool() | int():
            return value
        case Decimal():
            return msgspec.Raw(f"{value:f}".encode())
        case _:
            return None


def _moment(value: int, kind: pa.DataType, *, up: bool) -> str | None:
    """Days, or microseconds UTC, since 1970; None where no reader's calendar has them."""
    try:
        if pa.types.is_date32(kind):
            return (_EPOCH.date() + timedelta(value)).isoformat()
        if kind == pa.timestamp("us", "UTC"):
            whole = _EPOCH + timedelta(milliseconds=-(-value // 1000) if up else value // 1000)
            return whole.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except OverflowError:
        pass
    return None


def _has_nan(rows: pa.Table, path: Path) -> bool:
    column = rows.column(path[0])
    values = pc.struct_field(column, list(path[1:])) if path[1:] else column
    return bool(pc.any(pc.is_nan(values)).as_py())


def _put(tree: dict[str, Any], path: Path, value: object) -> None:
    if value is None:
        return
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value
