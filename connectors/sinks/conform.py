"""Fits a batch to a table's columns without losing or rounding anything.

Delta's own writer casts silently (2.5 becomes 2), so no cast is left to it: every value goes into its column when the
column's type holds it exactly, and otherwise whole, as JSON under its path, into `_rescued`, where the row's column is
NULL. The work is one SQL query a (batch schema, table schema), compiled once.

A column whose values disagree about their kind arrives as JSON text; the batch's schema metadata names such paths
(`mark_json`).
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb
import msgspec
import pyarrow as pa

from connectors.columns import Path, dotted, literal, quoted
from connectors.sinks.json_text import json_text, others_text, pointer

EXTRA = "_extra"
"""Batch column: what no typed column could carry, as `"path":value` members of a JSON object; NULL for most rows."""

RESCUED = "_rescued"

_JSON_PATHS = b"headrace.json"
_NUMERIC_KINDS = "('BIGINT', 'UBIGINT', 'HUGEINT', 'UHUGEINT', 'DOUBLE')"


def mark_json(table: pa.Table, paths: Iterable[Path]) -> pa.Table:
    """`table` with the paths of the columns that hold JSON text noted in its schema."""
    return table.replace_schema_metadata({_JSON_PATHS: msgspec.json.encode(sorted(paths))})


def json_paths(schema: pa.Schema) -> frozenset[Path]:
    """The paths that `mark_json` noted."""
    noted = (schema.metadata or {}).get(_JSON_PATHS)
    return frozenset(tuple(path) for path in msgspec.json.decode(noted)) if noted else frozenset()


def conform_query(batch: pa.Schema, table: pa.Schema, source: str) -> str:
    """The query over `source` (a relation of schema `batch`) whose columns are exactly those of `table`."""
    items, members = _items(batch, table)
    rescued = f"'{{' || nullif(concat_ws(',', {', '.join(members)}), '') || '}}'" if members else "NULL::VARCHAR"
    select = ", ".join(
        f"{rescued if field.name == RESCUED else items[field.name]} AS {quoted(field.name)}" for field in table
    )
    return f"SELECT {select} FROM {source}"


def _items(batch: pa.Schema, table: pa.Schema) -> tuple[dict[str, str], list[str]]:
    """The SQL of each column of `table` but `_rescued`, and of the members of that."""
    conforming = _Conforming(json_paths(batch))
    items = {}
    for field in table:
        if field.name == RESCUED:
            continue
        index = batch.get_field_index(field.name)
        if index < 0:
            items[field.name] = f"NULL::{sql_type(field.type)}"
        else:
            items[field.name] = conforming.fit(batch.field(index).type, field.type, quoted(field.name), (field.name,))
    for name in batch.names:
        if name in ("event", "metadata") and name not in table.names:
            conforming.fit(batch.field(name).type, pa.struct([]), quoted(name), (name,))
    return items, [*([EXTRA] if EXTRA in batch.names else []), *conforming.rescued]


def conformed(batch: pa.Table, table: pa.Schema, engine: duckdb.DuckDBPyConnection) -> pa.Table:
    """The rows of `batch` as `table` takes them; they are copied by no query where nothing of them has to change."""
    items, members = _items(batch.schema, table)
    nothing_extra = members in ([], [EXTRA]) and (not members or batch.column(EXTRA).null_count == batch.num_rows)
    if nothing_extra and all(sql == quoted(name) for name, sql in items.items()):
        rescued = pa.nulls(batch.num_rows, pa.string())
        columns = [rescued if name == RESCUED else batch.column(name) for name in table.names]
        return pa.table(columns, names=table.names).cast(table)
    engine.register("batch", batch)
    try:
        return engine.sql(conform_query(batch.schema, table, "batch")).to_arrow_table().cast(table)
    finally:
        engine.unregister("batch")


class _Conforming:
    """Collects, while expressions are built, the members of `_rescued` that they leave behind."""

    def __init__(self, json: frozenset[Path]) -> None:
        self._json = json
        self.rescued: list[str] = []

    def rescue(self, value: str, path: Path, when: str = "") -> None:
        """Notes that the JSON `value` (an SQL expression) lands under `path` where it is not null (and `when` holds)."""
        name = msgspec.json.encode(dotted(path)).decode()
        member = f"{literal(name + ':')} || nullif({value}::VARCHAR, 'null')"
        self.rescued.append(f"CASE WHEN {when} THEN {member} END" if when else member)

    def fit(self, have: pa.DataType, want: pa.DataType, sql: str, path: Path) -> str:
        """The expression of type `want` for `sql` of type `have`."""
        if path in self._json:
            return self._from_json(want, sql, path)
        if (have == want or _same(have, want)) and not any(json[: len(path)] == path for json in self._json):
            return sql
        if pa.types.is_struct(have) and pa.types.is_struct(want):
            return self._struct(have, want, sql, path)
        if pa.types.is_struct(have) or pa.types.is_struct(want) or not _kindred(have, want):
            self.rescue(self._json_text(have, sql, path), path)
            return f"NULL::{sql_type(want)}"
        if pa.types.is_list(have):
            cast = f"TRY_CAST({sql} AS {sql_type(want)})"
        elif pa.types.is_integer(want):
            cast = f"CASE WHEN {sql} = trunc({sql}) THEN TRY_CAST({sql} AS {sql_type(want)}) END"
        else:
            cast = f"TRY_CAST({sql} AS {sql_type(want)})"
        kept = f"CASE WHEN TRY_CAST({cast} AS {sql_type(have)}) IS NOT DISTINCT FROM {sql} THEN {cast} END"
        self.rescue(self._json_text(have, sql, path), path, f"({kept}) IS NULL")
        return kept

    def _struct(self, have: pa.StructType, want: pa.StructType, sql: str, path: Path) -> str:
        fields = []
        for child in want:
            index = have.get_field_index(child.name)
            if index < 0:
                fields.append(f"{quoted(child.name)} := NULL::{sql_type(child.type)}")
                continue
            value = self.fit(have.field(index).type, child.type, f"{sql}.{quoted(child.name)}", (*path, child.name))
            fields.append(f"{quoted(child.name)} := {value}")
        for child in have:
            if want.get_field_index(child.name) < 0:
                inner = (*path, child.name)
                self.rescue(self._json_text(child.type, f"{sql}.{quoted(child.name)}", inner), inner)
        return f"CASE WHEN {sql} IS NOT NULL THEN struct_pack({', '.join(fields)}) END"

    def _json_text(self, have: pa.DataType, sql: str, path: Path) -> str:
        return json_text(have, sql, path, self._json)

    def _from_json(self, want: pa.DataType, sql: str, path: Path) -> str:
        """A JSON text as `want`, where the value's own kind is that of `want` and nothing of it would change."""
        if pa.types.is_struct(want):
            return self._from_object(want, sql, path)
        kind, text, target = f"json_type({sql})", f"({sql} ->> '$')", sql_type(want)
        if pa.types.is_string(want):
            kept = f"CASE WHEN {kind} = 'VARCHAR' THEN {text} END"
        elif pa.types.is_boolean(want):
            kept = f"CASE WHEN {kind} = 'BOOLEAN' THEN TRY_CAST({text} AS BOOLEAN) END"
        elif pa.types.is_integer(want):
            # 2.0 is the integer 2; a text of digits is exact whatever its length, or the cast fails.
            whole = f"regexp_full_match({text}, '-?[0-9]+([.]0+)?')"
            kept = f"CASE WHEN {kind} IN {_NUMERIC_KINDS} AND {whole} THEN TRY_CAST({text} AS {target}) END"
        elif pa.types.is_floating(want):
            digits = f"regexp_full_match({text}, '-?[0-9]+')"
            exact = f"TRY_CAST(TRY_CAST({text} AS DOUBLE) AS HUGEINT)::VARCHAR = {text}"
            kept = f"CASE WHEN {kind} IN {_NUMERIC_KINDS} AND (NOT {digits} OR {exact}) THEN TRY_CAST({text} AS DOUBLE) END"
        elif pa.types.is_decimal(want):
            exact = f"TRY_CAST({text} AS {target})::DOUBLE = TRY_CAST({text} AS DOUBLE)"
            kept = f"CASE WHEN {kind} IN {_NUMERIC_KINDS} AND {exact} THEN TRY_CAST({text} AS {target}) END"
        elif pa.types.is_list(want):
            typed = f"json_transform({sql}, {literal(msgspec.json.encode(_structure(want)).decode())})"
            kept = f"CASE WHEN {kind} = 'ARRAY' AND to_json({typed})::VARCHAR = {sql}::VARCHAR THEN {typed} END"
        else:
            kept = f"NULL::{target}"
        self.rescue(sql, path, f"({kept}) IS NULL")
        return kept

    def _from_object(self, want: pa.StructType, sql: str, path: Path) -> str:
        """The fields of a JSON object one by one, those that have no column rescued; what is no object is as a whole."""
        is_object = f"json_type({sql}) = 'OBJECT'"
        self.rescue(sql, path, f"NOT ({is_object})")
        fields = []
        for child in want:
            # A pointer's number is a place in an array: of what is no object nothing may be taken.
            safe = f"CASE WHEN {is_object} THEN {sql} END" if child.name.isdigit() else sql
            value = f"json_extract({safe}, {literal(pointer((child.name,)))})"
            fields.append(f"{quoted(child.name)} := {self._from_json(child.type, value, (*path, child.name))}")
        self.rescued.append(others_text(f"CASE WHEN {is_object} THEN {sql} END", path, [child.name for child in want]))
        return f"CASE WHEN {is_object} THEN struct_pack({', '.join(fields)}) END"


def sql_type(of: pa.DataType) -> str:
    """The DuckDB type of an Arrow type that a table can have."""
    if pa.types.is_struct(of):
        return "STRUCT(" + ", ".join(f"{quoted(child.name)} {sql_type(child.type)}" for child in of) + ")"
    if pa.types.is_list(of):
        return f"{sql_type(of.value_type)}[]"
    if pa.types.is_decimal(of):
        return f"DECIMAL({of.precision},{of.scale})"
    if pa.types.is_timestamp(of):
        return "TIMESTAMP WITH TIME ZONE" if of.tz else "TIMESTAMP"
    return {
        "int64": "BIGINT",
        "int32": "INTEGER",
        "int16": "SMALLINT",
        "int8": "TINYINT",
        "double": "DOUBLE",
        "float": "FLOAT",
        "string": "VARCHAR",
        "bool": "BOOLEAN",
        "date32[day]": "DATE",
        "binary": "BLOB",
    }[str(of)]


def _same(have: pa.DataType, want: pa.DataType) -> bool:
    """Whether two Arrow types are one DuckDB type (lists differ in the name of their element)."""
    return not pa.types.is_null(have) and sql_type(have) == sql_type(want)


def _kindred(have: pa.DataType, want: pa.DataType) -> bool:
    """Whether a value of `have` can be the same value in `want`: numbers among numbers, lists of such, structs of such."""

    def number(of: pa.DataType) -> bool:
        return bool(pa.types.is_integer(of) or pa.types.is_floating(of) or pa.types.is_decimal(of))

    if pa.types.is_list(have) and pa.types.is_list(want):
        return _kindred(have.value_type, want.value_type)
    if pa.types.is_struct(have) and pa.types.is_struct(want):
        names = {child.name for child in want}
        return all(child.name in names and _kindred(child.type, want.field(child.name).type) for child in have)
    return have == want or (number(have) and number(want))


def _structure(of: pa.DataType) -> object:
    if pa.types.is_struct(of):
        return {child.name: _structure(child.type) for child in of}
    return [_structure(of.value_type)] if pa.types.is_list(of) else sql_type(of)
