"""Gives a column of a Delta table a wider type, and takes back what did not fit into it before.

The table is written anew in one commit: each value in the column as the new type, each value of it in `_rescued` that
the new type holds exactly back in its place. Nothing is rounded: a value that is in the column and would not survive
stops the whole, and a rescued one that does not fit stays where it is. The `txn` actions stay, so a dataflow started
afterwards reads on from where it was.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError

from connectors.columns import Path, dotted, quoted
from connectors.errors import HeadraceError, Transient
from connectors.sinks.conform import EXTRA, RESCUED, conform_query, mark_json, sql_type
from connectors.sinks.delta import EVENTS
from connectors.sinks.evolve import plain_schema
from connectors.sinks.json_text import json_text

_TAKEN = "_taken"


_OWN = {*EVENTS.names, "window_start", "window_end"} - {"event", "metadata"}


class Widened(msgspec.Struct):
    """What became of the rows: of all, how many took a rescued value of the column back, how many kept theirs rescued."""

    rows: int = 0
    taken_back: int = 0
    still_rescued: int = 0


def widen(table: DeltaTable, path: Path, to: pa.DataType) -> Widened:
    """Rewrites the table with the column at `path` as a `to`. Nobody else may write to it meanwhile.

    Raises HeadraceError where there is no such column, where `to` is not wider, or where a value that is in the column
    would change; Transient where the table cannot be read or written. The table is as before then.
    """
    schema = plain_schema(pa.schema(table.schema().to_arrow()))
    have = None if path[0] in _OWN else _leaf(schema, path)
    if have is None:
        raise HeadraceError(f"{dotted(path)} is no column of {table.table_uri}", remedy=_columns(schema))
    if pa.types.is_nested(have) or not _is_wider(have, to):
        raise HeadraceError(
            f"{dotted(path)} is a {sql_type(have)}, and a {sql_type(to)} does not hold all that it can hold",
            remedy="widen integers to BIGINT, DECIMAL(p,s), DOUBLE; anything but objects and lists to VARCHAR",
        )
    rewriting = _Rewriting(schema, path, have, to)
    # By way of a file: what writes a table cannot read one meanwhile, and nothing is written before all values are seen.
    with tempfile.TemporaryFile() as copy:
        try:
            with pq.ParquetWriter(copy, rewriting.schema, compression="zstd") as writer:
                for batch in table.scan():
                    writer.write_table(rewriting.rewritten(pa.table(pa.record_batch(batch))))
            copy.seek(0)
            write_deltalake(
                table,
                pa.RecordBatchReader.from_batches(rewriting.schema, pq.ParquetFile(copy).iter_batches(20_000)),
                mode="overwrite",
                schema_mode="overwrite",
                partition_by=list(table.metadata().partition_columns) or None,
                writer_properties=WriterProperties(compression="ZSTD", compression_level=3),
            )
        except (DeltaError, OSError) as exc:
            raise Transient(f"rewriting {table.table_uri}: {exc}") from exc
    return rewriting.account


def arrow_type(sql: str) -> pa.DataType:
    """The Arrow type of a DuckDB type that a table can have."""
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        return plain_schema(engine.sql(f"SELECT NULL::{sql} AS c").to_arrow_table().schema).field(0).type


class _Rewriting:
    def __init__(self, schema: pa.Schema, path: Path, have: pa.DataType, to: pa.DataType) -> None:
        self.schema = _with_leaf(schema, path, to)
        self.account = Widened()
        self._path = path
        self._name = dotted(path)
        self._have = have
        self._to = to
        self._engine = duckdb.connect(config={"threads": 1})
        self._engine.execute("SET TimeZone = 'UTC'")
        others = [quoted(field.name) for field in schema if field.name not in (path[0], RESCUED)]
        rebuilt = _rebuilt(schema.field(path[0]).type, quoted(path[0]), path[1:], self._as_json)
        self._query = f"SELECT {', '.join([*others, f'{rebuilt} AS {quoted(path[0])}', EXTRA])} FROM before"

    def rewritten(self, before: pa.Table) -> pa.Table:
        """Rows of the table as they will be, counted. Raises HeadraceError where a value would change."""
        before = before.cast(plain_schema(before.schema))
        taken, extra = self._out_of_rescued(before)
        self._engine.register("before", before.append_column(_TAKEN, taken).append_column(EXTRA, extra))
        loose = mark_json(self._engine.sql(self._query).to_arrow_table(), [self._path])
        self._engine.unregister("before")
        self._engine.register("loose", loose)
        query = conform_query(loose.schema, self.schema, "loose")
        after = self._engine.sql(query).to_arrow_table().cast(self.schema)
        self._engine.unregister("loose")
        self._count(before, taken, after)
        return after

    def _out_of_rescued(self, before: pa.Table) -> tuple[pa.Array, pa.Array]:
        """(the column's rescued values, the other members of `_rescued`), both as JSON text, by row."""
        taken: list[str | None] = [None] * before.num_rows
        extra: list[str | None] = [None] * before.num_rows
        if RESCUED in before.column_names:
            for row, text in enumerate(before.column(RESCUED).to_pylist()):
                if text is None:
                    continue
                members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
                value = members.pop(self._name, None)
                taken[row] = None if value is None else self._scalar(bytes(value).decode())
                named = (f"{msgspec.json.encode(name).decode()}:{bytes(raw).decode()}" for name, raw in members.items())
                extra[row] = ",".join(named) or None
        return pa.array(taken, pa.string()), pa.array(extra, pa.string())

    def _scalar(self, text: str) -> str:
        """A rescued value; where the column becomes text, a number or a boolean is its text."""
        if pa.types.is_string(self._to) and text[0] not in '"{[':
            return f'"{text}"'
        return text

    def _as_json(self, leaf: str) -> str:
        value = f"to_json({leaf}::VARCHAR)::VARCHAR"
        if not pa.types.is_string(self._to):
            value = json_text(self._have, leaf, self._path)
        return f"coalesce(CASE WHEN {leaf} IS NOT NULL THEN {value} END, {_TAKEN})"

    def _count(self, before: pa.Table, taken: pa.Array, after: pa.Table) -> None:
        was, now = (pc.is_valid(_values(table, self._path)) for table in (before, after))
        lost = pc.sum(pc.and_(was, pc.invert(now))).as_py() or 0
        if lost:
            raise HeadraceError(
                f"{self._name} has values (among the first rows read: {lost:,}) that are not exactly"
                f" a {sql_type(self._to)}; nothing was changed",
                remedy="choose a type that holds them all, such as DECIMAL(38,9) or VARCHAR",
            )
        rescued = pc.is_valid(taken)
        self.account.rows += before.num_rows
        self.account.taken_back += pc.sum(pc.and_(rescued, now)).as_py() or 0
        self.account.still_rescued += pc.sum(pc.and_(rescued, pc.invert(now))).as_py() or 0


def _rebuilt(of: pa.DataType, sql: str, path: Path, leaf: Any) -> str:
    """The column with the value at `path` below it replaced by what `leaf` makes of it."""
    if not path:
        return str(leaf(sql))
    fields = []
    for child in of:
        value = f"{sql}.{quoted(child.name)}"
        fields.append(
            f"{quoted(child.name)} := {_rebuilt(child.type, value, path[1:], leaf) if child.name == path[0] else value}"
        )
    return f"CASE WHEN {sql} IS NOT NULL OR {_TAKEN} IS NOT NULL THEN struct_pack({', '.join(fields)}) END"


def _values(table: pa.Table, path: Path) -> pa.ChunkedArray:
    column = table.column(path[0])
    return pc.struct_field(column, list(path[1:])) if path[1:] else column


def _leaf(schema: pa.Schema, path: Path) -> pa.DataType | None:
    of: pa.DataType | None = pa.struct(list(schema))
    for part in path:
        if of is None or not pa.types.is_struct(of) or of.get_field_index(part) < 0:
            return None
        of = of.field(part).type
    return of


def _with_leaf(schema: pa.Schema, path: Path, to: pa.DataType) -> pa.Schema:
    def replaced(field: pa.Field, rest: Path) -> pa.Field:
        if not rest:
            return field.with_type(to)
        return field.with_type(
            pa.struct([replaced(child, rest[1:]) if child.name == rest[0] else child for child in field.type])
        )

    return pa.schema([replaced(field, path[1:]) if field.name == path[0] else field for field in schema])


def _columns(schema: pa.Schema) -> str:
    def leaves(of: pa.DataType, path: Path) -> Iterator[str]:
        if pa.types.is_struct(of):
            for child in of:
                yield from leaves(child.type, (*path, child.name))
        else:
            yield f"{dotted(path)} {sql_type(of)}"

    found = [leaf for field in schema if field.name not in _OWN for leaf in leaves(field.type, (field.name,))]
    return "its columns: " + ", ".join(found[:40]) + (" …" if len(found) > 40 else "")


def _is_wider(have: pa.DataType, to: pa.DataType) -> bool:
    """Whether a column of `have` may become one of `to`. Of numbers each value is looked at as well."""
    if have == to:
        return False
    if pa.types.is_string(to):
        return True
    if pa.types.is_integer(have):
        wider = pa.types.is_integer(to) and to.bit_width > have.bit_width
        return bool(wider or pa.types.is_floating(to) or pa.types.is_decimal(to))
    if pa.types.is_decimal(have):
        digits = have.precision - have.scale
        larger = pa.types.is_decimal(to) and to.scale >= have.scale and to.precision - to.scale >= digits
        return bool(larger or pa.types.is_float64(to))
    return bool(pa.types.is_floating(have) and (pa.types.is_decimal(to) or to == pa.float64()))
