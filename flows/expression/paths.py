"""What a name in an expression means: a flat column, an object of them, or a lambda's parameter."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flows.columns import RECEIVED_AT, TIMESTAMP, Columns, Path, column
from flows.expression.syntax import Node
from flows.expression.values import NULL, Value, field, struct_of

ROOTS = frozenset({TIMESTAMP[0], RECEIVED_AT[0], "source", "stream", "event_id", "event", "metadata"})
"""The names an expression can begin a path with."""


class Scope(msgspec.Struct, frozen=True):
    """What names mean: the columns of the layer below, and the parameters of the lambdas around."""

    columns: Columns
    parameters: Mapping[str, Value] = {}


def resolve_names(path: Path, columns: Columns) -> Path:
    """The path with the names that are there: as written where it exists so, else whatever the case of its letters."""
    found: tuple[str, ...] = ()
    for depth in range(len(path)):
        below = {known[depth] for known in columns if len(known) > depth and known[:depth] == found}
        part = path[depth]
        if part not in below:
            part = min((name for name in below if name.lower() == part.lower()), default=part)
        found = (*found, part)
    return found


def as_path(node: Node) -> Path | None:
    """`event.a`, `event['a b']` and `(event).a` are one and the same path."""
    if node["class"] == "COLUMN_REF":
        return tuple(node["column_names"])
    if node["type"] in ("ARRAY_EXTRACT", "STRUCT_EXTRACT") and node["class"] == "OPERATOR":
        base, key = node["children"]
        parts = as_path(base)
        if parts is not None and key["class"] == "CONSTANT" and key["literal"]["kind"] == "STRING":
            return (*parts, key["literal"]["text"])
    return None


def resolve(path: Path, scope: Scope) -> Value:
    parameter = scope.parameters.get(path[0].lower())
    if parameter is not None:
        value = parameter
        for name in path[1:]:
            value = field(value, name)
        return value
    for candidate in (path, resolve_names(path, scope.columns), _folded(path, scope.columns)):
        for length in range(len(candidate), 0, -1):
            kind = scope.columns.get(candidate[:length])
            if kind is not None:
                name = column(candidate[:length])
                value = Value(name, kind, frozenset({(name, kind)}), leaf=True)
                for part in candidate[length:]:
                    value = field(value, part)
                return value
        if any(known[: len(candidate)] == candidate for known in scope.columns):
            return _interior(candidate, scope.columns)
    return NULL


def _folded(path: Path, columns: Columns) -> Path:
    wanted = tuple(part.lower() for part in path)
    same = [known[: len(path)] for known in columns if tuple(part.lower() for part in known[: len(path)]) == wanted]
    return min(same, default=path)


def _interior(path: Path, columns: Columns) -> Value:
    fields: dict[str, Value] = {}
    for known, kind in columns.items():
        if known[: len(path)] == path:
            part = known[len(path)]
            if part not in fields:
                below = (*path, part)
                name = column(below)
                leaf = Value(name, kind, frozenset({(name, kind)}), leaf=True)
                fields[part] = leaf if known == below else _interior(below, columns)
    return struct_of(list(fields.items()))
