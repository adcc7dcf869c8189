"""Rows as Snowflake loads them: columns of plain types in a Parquet file, and the SQL that makes a table's of them.

Instants, dates and decimals travel as text, since how Snowflake reads those types of Parquet depends on its options; what
is nested travels as JSON text and becomes a VARIANT, so that a stream's events need no columns of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.columns import quoted
from connectors.sinks.conform import json_paths, mark_json
from connectors.sinks.delta import EVENTS
from connectors.sinks.json_text import json_text

VARIANT = pa.large_string()
"""What stands in a schema here for JSON text that becomes a VARIANT; no other column has this type."""

EVENT_COLUMNS = pa.schema(
    [field.with_type(VARIANT) if field.name in ("event", "metadata") else field for field in EVENTS]
)

_INSTANT = "%Y-%m-%dT%H:%M:%S.%f+00:00"


def flattened(batch: pa.Table, table: pa.Schema, engine: duckdb.DuckDBPyConnection) -> pa.Table:
    """The batch, its columns' names in small letters, with JSON text in place of what becomes a VARIANT.

    That is what the table has as one, and what is nested and not in it yet.
    """
    json = json_paths(batch.schema)
    items, texts = [], set()
    for field in batch.schema:
        name = field.name.lower()
        at = table.get_field_index(name)
        if table.field(at).type == VARIANT if at >= 0 else pa.types.is_nested(field.type):
            text = json_text(field.type, quoted(field.name), (field.name,), json)
            value = f"coalesce({text}, '{{}}')" if name == "event" else text
            items.append(f"{value} AS {quoted(name)}")
            texts.add(name)
        else:
            items.append(f"{quoted(field.name)} AS {quoted(name)}")
    for field in table:
        if field.type == VARIANT and field.name not in texts:
            value = "'{}'" if field.name == "event" else "NULL"
            items.append(f"{value}::VARCHAR AS {quoted(field.name)}")
            texts.add(field.name)
    engine.register("flattening", batch)
    try:
        made = engine.sql(f"SELECT {', '.join(items)} FROM flattening").to_arrow_table()
    finally:
        engine.unregister("flattening")
    made = made.cast(pa.schema([field.with_type(VARIANT) if field.name in texts else field for field in made.schema]))
    return mark_json(made, [(path[0].lower(), *path[1:]) for path in json if path[0].lower() not in texts])


def encoded(rows: pa.Table, engine: duckdb.DuckDBPyConnection) -> memoryview:
    """The rows as a Parquet file of the columns `c0`, `c1`, …"""
    items = [f"{_carried(field)} AS c{place}" for place, field in enumerate(rows.schema)]
    engine.register("encoding", rows)
    try:
        plain = engine.sql(f"SELECT {', '.join(items)} FROM encoding").to_arrow_table()
    finally:
        engine.unregister("encoding")
    sink = pa.BufferOutputStream()
    pq.write_table(plain, sink, compression="zstd", compression_level=1)
    return memoryview(sink.getvalue())


def copy_statement(table: str, schema: pa.Schema, file: str) -> str:
    """Loads a staged file that `encoded` made of rows of `schema`, all of it or nothing, and removes it."""
    names = ", ".join(quoted(name.upper()) for name in schema.names)
    items = ", ".join(_read(field.type, f"$1:c{place}") for place, field in enumerate(schema))
    return (
        f"COPY INTO {table} ({names}) FROM (SELECT {items} FROM {file})"
        " FILE_FORMAT = (TYPE = PARQUET) ON_ERROR = ABORT_STATEMENT PURGE = TRUE"
    )


def column_list(schema: pa.Schema) -> str:
    """The columns of a new table."""
    return ", ".join(f"{quoted(field.name.upper())} {sql_type(field.type)}" for field in schema)


def sql_type(of: pa.DataType) -> str:
    """Snowflake's type for a column's."""
    if of == VARIANT:
        return "VARIANT"
    if pa.types.is_decimal(of):
        return f"NUMBER({of.precision},{of.scale})"
    return {
        "string": "VARCHAR",
        "int64": "NUMBER(38,0)",
        "double": "FLOAT",
        "bool": "BOOLEAN",
        "date32[day]": "DATE",
        "timestamp[us, tz=UTC]": "TIMESTAMP_TZ",
    }[str(of)]


def arrow_schema(described: Sequence[tuple[str, str]], base: pa.Schema) -> pa.Schema:
    """The schema of a table from its columns' names and types, in `base`'s names; columns of other types are not ours."""
    known = {field.name.upper(): field for field in base}
    fields = []
    for name, kind in described:
        field, of = known.get(name), _arrow_type(kind)
        if field is not None:
            fields.append(field)
        elif of is not None and name == name.upper():
            fields.append(pa.field(name.lower(), of))
    return pa.schema(fields)


def _arrow_type(kind: str) -> pa.DataType | None:
    word, _, size = kind.upper().rstrip(")").partition("(")
    if word in ("NUMBER", "DECIMAL"):
        digits, _, scale = (size or "38,0").partition(",")
        return pa.int64() if int(scale or 0) == 0 else pa.decimal128(int(digits), int(scale))
    return {
        "VARCHAR": pa.string(),
        "TEXT": pa.string(),
        "FLOAT": pa.float64(),
        "BOOLEAN": pa.bool_(),
        "DATE": pa.date32(),
        "TIMESTAMP_TZ": pa.timestamp("us", "UTC"),
        "VARIANT": VARIANT,
    }.get(word)


def _carried(field: pa.Field) -> str:
    name = quoted(field.name)
    if pa.types.is_timestamp(field.type):
        return f"strftime({name} AT TIME ZONE 'UTC', '{_INSTANT}')"
    if pa.types.is_date(field.type) or pa.types.is_decimal(field.type):
        return f"{name}::VARCHAR"
    return name


def _read(of: pa.DataType, value: str) -> str:
    if of == VARIANT:
        return f"PARSE_JSON({value}::VARCHAR)"
    kind = sql_type(of)
    carried_as_text = pa.types.is_timestamp(of) or pa.types.is_date(of) or pa.types.is_decimal(of)
    return f"{value}::VARCHAR::{kind}" if carried_as_text else f"{value}::{kind}"
