"""A text with fields of the row in it, `{source}-{event.host}`, as the SQL expression that makes it of each row.

Where a field is absent there is nothing in its place; a text of which nothing is left is NULL. What a protocol allows
in the text is for its user to see to.
"""

from __future__ import annotations

import re

import msgspec
import pyarrow as pa

from connectors.columns import UNQUOTED, Path, literal, quoted
from connectors.sinks.conform import json_paths
from connectors.sinks.json_text import json_text
from connectors.values import as_written

RFC3339 = "%Y-%m-%dT%H:%M:%S.%fZ"
"""An instant in UTC with microseconds, as DuckDB's `strftime` writes it."""

_PART = rf'(?:{UNQUOTED}|"(?:[^"]|"")+")'
_FIELD = re.compile(rf"\{{({_PART}(?:\.{_PART})*)\}}")
_ONE_PART = re.compile(_PART)
_COLUMNS = frozenset({"stream", "event_id", "timestamp", "received_at", "source", "date", "_sample_rate", "_late"})


class Phrase(msgspec.Struct, frozen=True):
    """A parsed text: what stands in it, and the paths of fields."""

    parts: tuple[str | Path, ...]

    @property
    def constant(self) -> str | None:
        """The text, where no field is in it."""
        return "".join(str(part) for part in self.parts) if all(isinstance(p, str) for p in self.parts) else None

    def sql(self, schema: pa.Schema, stream: str) -> str:
        """The expression over rows of `schema`: VARCHAR, NULL where it would be empty. `{stream}` is a constant."""
        terms = [literal(part) if isinstance(part, str) else _value(schema, part, stream) for part in self.parts]
        if not terms:
            return "NULL::VARCHAR"
        if len(terms) == 1:
            return f"nullif({terms[0]}, '')"
        return f"nullif(concat({', '.join(terms)}), '')"


def phrase(text: str) -> Phrase:
    """Reads `text`. Raises ValueError where a brace is not part of a field, or a field is of no row."""
    parts: list[str | Path] = []
    end = 0
    for found in _FIELD.finditer(text):
        parts += [text[end : found.start()], _path(found[1])]
        end = found.end()
    parts.append(text[end:])
    if any(isinstance(part, str) and ("{" in part or "}" in part) for part in parts):
        raise ValueError(f"{as_written(text)[:80]!r}: a brace belongs to a field, such as {{source}} or {{event.host}}")
    return Phrase(tuple(part for part in parts if part))


def instant(schema: pa.Schema) -> str:
    """The column that says when a row was: `timestamp`, or a rollup's `window_start`."""
    return next((quoted(name) for name in ("timestamp", "window_start") if name in schema.names), "NULL::TIMESTAMPTZ")


def _path(written: str) -> Path:
    parts = _ONE_PART.findall(written)
    path = tuple(part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts)
    if len(path) > 1 and path[0] not in ("event", "metadata"):
        raise ValueError(f"{{{written[:80]}}}: a row has event.…, metadata.…, {', '.join(sorted(_COLUMNS))}")
    return path


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


def _value(schema: pa.Schema, path: Path, stream: str) -> str:
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
