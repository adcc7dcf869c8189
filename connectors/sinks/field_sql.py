"""A field of a row as an SQL expression, by where the row's schema has it."""

from __future__ import annotations

import msgspec
import pyarrow as pa

from connectors.columns import Path, literal, quoted
from connectors.sinks.conform import json_paths
from connectors.sinks.json_text import json_text

RFC3339 = "%Y-%m-%dT%H:%M:%S.%fZ"
"""An instant in UTC with microseconds, as DuckDB's `strftime` writes it."""


def instant(schema: pa.Schema) -> str:
    """The column that says when a row was: `timestamp`, or a rollup's `window_start`."""
    return next((quoted(name) for name in ("timestamp", "window_start") if name in schema.names), "NULL::TIMESTAMPTZ")


def field_json(schema: pa.Schema, path: Path, stream: str) -> str:
    """The expression of the field's JSON text, of its own type; NULL where the row has no such field."""
    if path == ("stream",):
        return literal(msgspec.json.encode(stream).decode())
    found = _found(schema, path)
    if found is None:
        return "NULL::VARCHAR"
    kind, expression, inside = found
    if inside is not None:
        return f"json_extract({expression}, {literal('$' + inside)})::VARCHAR" if inside else expression
    return json_text(kind, expression, path, json_paths(schema))


def field_text(schema: pa.Schema, path: Path, stream: str) -> str:
    """The field as VARCHAR; NULL where the rows have no such field."""
    if path == ("stream",):
        return literal(stream)
    found = _found(schema, path)
    if found is None:
        return "NULL::VARCHAR"
    kind, expression, inside = found
    if inside is not None:
        return f"json_extract_string({expression}, {literal('$' + inside)})"
    if pa.types.is_timestamp(kind):
        return f"strftime({expression} AT TIME ZONE 'UTC', '{RFC3339}')"
    if pa.types.is_nested(kind):
        return f"to_json({expression})::VARCHAR"
    return f"{expression}::VARCHAR"


def _found(schema: pa.Schema, path: Path) -> tuple[pa.DataType, str, str | None] | None:
    """(type, expression, JSON path within it) of a field; without a JSON path where no JSON text holds it."""
    index = schema.get_field_index(path[0])
    if index < 0:
        return None
    kind, expression = schema.field(index).type, quoted(path[0])
    json = json_paths(schema)
    for depth in range(1, len(path) + 1):
        if path[:depth] in json:
            return kind, expression, "".join(f'."{part}"' for part in path[depth:])
        if depth == len(path):
            break
        if not pa.types.is_struct(kind) or kind.get_field_index(path[depth]) < 0:
            return None
        kind = kind.field(path[depth]).type
        expression = f"struct_extract({expression}, {literal(path[depth])})"
    return kind, expression, None
