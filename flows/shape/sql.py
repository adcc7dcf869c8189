"""The query that parses a batch's lines with a known shape into flat columns (`flows/columns.py`).

Input relation: `request_id VARCHAR, index BIGINT, received_at TIMESTAMP WITH TIME ZONE, _offset BIGINT, line VARCHAR`, and
where it is to tell the stream, `stream_name VARCHAR`.
One `json_transform` a line, whatever the number of columns.
"""

from __future__ import annotations

import msgspec

from flows.columns import (
    EVENT_ID,
    EXTRA,
    EXTRA_TYPE,
    NO_EXTRA,
    OFFSET,
    RECEIVED_AT,
    SAMPLE_RATE,
    SOURCE,
    STREAM,
    SYSTEM,
    TIMESTAMP,
    UNQUOTED,
    Columns,
    Path,
    column,
    dotted,
    literal,
    quoted,
)
from flows.shape.hints import hinted
from flows.shape.nodes import Any, List, Node, Null, Scalar, Shape, Struct

STREAM_NAME = "stream_name"
"""The column of the stream's name, where lines have it."""


def relation(shape: Shape, stream: str | None, source: str) -> tuple[str, Columns]:
    """(query, columns): the rows of `source` (a relation's name) parsed with `shape`, in the same order.

    `stream` is the stream's name; None where the column STREAM_NAME of `source` has it: streams of one shape then have one
    query.
    """
    structure = _structure_of(shape)
    columns: dict[Path, str] = dict(SYSTEM)
    items = {
        EVENT_ID: "request_id || '-' || index",
        # The SQL cast reads RFC 3339; other forms of ISO 8601 that the gateway accepts are rare and take the slow way.
        TIMESTAMP: "coalesce(TRY_CAST(s.timestamp AS TIMESTAMP WITH TIME ZONE),"
        " CASE WHEN s.timestamp IS NOT NULL THEN make_timestamptz(iso8601_microseconds(s.timestamp)) END, received_at)",
        RECEIVED_AT: "received_at",
        SOURCE: "s.source",
        STREAM: STREAM_NAME if stream is None else literal(stream),
        OFFSET: "_offset",
        SAMPLE_RATE: "1.0::DOUBLE",
    }
    extras: list[str] = []
    if shape.open:
        extras.append(_others("line", (), ["timestamp", "source", "event", "metadata"]))
    for name, node in _roots(shape):
        _flatten(node, (name,), f"s.{quoted(name)}", items, columns, extras)
    items[EXTRA] = concatenate(extras)
    if not extras:
        columns[EXTRA] = NO_EXTRA
    select = ", ".join(f"{sql} AS {column(path)}" for path, sql in items.items())
    parsed = f"SELECT *, json_transform(line, {literal(structure)}) AS s FROM {source}"
    return f"SELECT {select} FROM ({parsed})", columns


def document_relation(shape: Shape, document: str, source: str) -> tuple[str, dict[Path, tuple[str, str]], str]:
    """(relation, leaves, extra): `source` with the JSON lines in its column `document` parsed with `shape`.

    `leaves` are (SQL, type) by path, `extra` the SQL of the values that none of them holds, over the relation.
    """
    items: dict[Path, str] = {}
    columns: dict[Path, str] = {}
    extras: list[str] = []
    for name, node in _roots(shape):
        _flatten(node, (name,), f"s.{quoted(name)}", items, columns, extras)
    parsed = f"SELECT *, {quoted(document)} AS line, json_transform({quoted(document)}, {literal(_structure_of(shape))}) AS s"
    return f"({parsed} FROM {source})", {path: (items[path], columns[path]) for path in items}, concatenate(extras)


def _structure_of(shape: Shape) -> str:
    return msgspec.json.encode(
        {
            "timestamp": "VARCHAR",
            "source": "VARCHAR",
            **{name: _structure(node) for name, node in _roots(shape) if _typed(node)},
        }
    ).decode()


def _roots(shape: Shape) -> list[tuple[str, Struct]]:
    return [("event", shape.event), ("metadata", shape.metadata)]


def _typed(node: Node) -> bool:
    """Whether anything under `node` is a column: a structure of nothing is an error to the parser."""
    if isinstance(node, Struct):
        return any(_typed(child) for child in node.fields.values())
    return not isinstance(node, Null)


def _settled(node: Node) -> bool:
    """Whether a list's elements are known down to the last: an array seen only empty has no element type yet."""
    if isinstance(node, List):
        return not isinstance(node.element, Null) and _settled(node.element)
    if isinstance(node, Struct):
        return _typed(node) and all(_settled(child) for child in node.fields.values() if _typed(child))
    return True


def _structure(node: Node) -> object:
    if isinstance(node, Struct):
        return {name: _structure(child) for name, child in node.fields.items() if _typed(child)}
    if isinstance(node, List) and _settled(node):
        return [_structure(node.element)]
    return node.kind if isinstance(node, Scalar) else "JSON"


def _flatten(
    node: Struct, path: Path, sql: str, items: dict[Path, str], columns: dict[Path, str], extras: list[str]
) -> None:
    if node.open:
        extras.append(_others(f"json_extract(line, {literal(_pointer(path))})", path, list(node.fields)))
    for name, child in node.fields.items():
        inner, value = (*path, name), f"{sql}.{quoted(name)}"
        if isinstance(child, Struct):
            _flatten(child, inner, value, items, columns, extras)
        elif isinstance(child, Any) and child.hint:
            typed = hinted(value, child.hint)
            items[inner], columns[inner] = typed, child.hint
            lost = f"{value} IS NOT NULL AND {value}::VARCHAR <> 'null' AND ({typed}) IS NULL"
            extras.append(f"CASE WHEN {lost} THEN MAP {{{literal(dotted(inner))}: {value}}} END")
        elif _typed(child):
            items[inner], columns[inner] = value, sql_type(child)


def sql_type(node: Node) -> str:
    """The DuckDB type of a leaf; JSON where the values disagree."""
    if isinstance(node, List) and _settled(node):
        return f"{sql_type(node.element)}[]"
    if isinstance(node, Struct):
        fields = ", ".join(f"{quoted(n)} {sql_type(c)}" for n, c in node.fields.items() if _typed(c))
        return f"STRUCT({fields})"
    return node.kind if isinstance(node, Scalar) else "JSON"


def _others(document: str, path: Path, known: list[str]) -> str:
    """MAP of the keys of an open object that have no column, by dotted path; NULL where there is none."""
    unknown = f"e.key NOT IN ({', '.join(literal(name) for name in known)})" if known else "true"
    # Keys are known to SQL alone: they are quoted here as `columns.dotted` does it.
    part = (
        f"CASE WHEN regexp_full_match(e.key, {literal(UNQUOTED)}) THEN e.key"
        " ELSE '\"' || replace(e.key, '\"', '\"\"') || '\"' END"
    )
    prefix = literal(dotted(path) + "." if path else "")
    entries = f"map_entries(json_transform({document}, '\"MAP(VARCHAR, JSON)\"'))"
    others = (
        f"[{{'key': {prefix} || {part}, 'value': e.value}}"
        f" FOR e IN {entries} IF {unknown} AND e.value::VARCHAR <> 'null']"
    )
    return f"nullif(map_from_entries({others}), MAP {{}}::{EXTRA_TYPE})"


def concatenate(extras: list[str]) -> str:
    """The SQL of one map of several; NULL where it is empty."""
    if not extras:
        return f"NULL::{EXTRA_TYPE}"
    if len(extras) == 1:
        return f"{extras[0]}::{EXTRA_TYPE}"
    maps = ", ".join(f"coalesce({extra}, MAP {{}}::{EXTRA_TYPE})" for extra in extras)
    return f"nullif(map_concat({maps}), MAP {{}}::{EXTRA_TYPE})"


def _pointer(path: Path) -> str:
    """The JSON Pointer (RFC 6901) of `path`; in DuckDB's JSONPath even a quoted `*` is a wildcard."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
