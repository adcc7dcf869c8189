"""Widens a shape until a batch of events fits it.

From the first event on that does not fit, DuckDB lists the distinct structures of some events, which are merged into what
is known; whatever still does not fit (an integer beyond 64 bits, say: a structure does not tell) is widened to `Any` at
the path the check names. Listing costs five times what a check does: of the events that fit by then it lists none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any as AnyValue

import pyarrow as pa

from flows.shape.fit import Misfit, Unreadable, first_misfit
from flows.shape.nodes import MAX_LEAVES, Any, Kind, List, Node, Null, Scalar, Shape, Struct, count_leaves, merge

_KINDS: dict[str, Kind] = {
    "VARCHAR": "VARCHAR",
    "BOOLEAN": "BOOLEAN",
    "UBIGINT": "BIGINT",
    "BIGINT": "BIGINT",
    "HUGEINT": "BIGINT",
    "DOUBLE": "DOUBLE",
}
Listed = Callable[[pa.ChunkedArray], list[AnyValue]]
"""The distinct structures of some lines."""

_FIRST, _FASTER = 256, 8  # lines whose structures are listed at first, and how many times as many each time again
_TOP_LEVEL = {"timestamp", "source", "event", "metadata"}


def learn(shape: Shape, lines: pa.ChunkedArray, ndjson: bytes, listed: Listed, hints: dict[str, str]) -> Shape:
    """The narrowest widening of `shape` that every line fits.

    `lines` (string) and `ndjson` (the same lines joined by newlines) are one batch; `listed` gives the distinct structures
    of some of them; `hints` are the configuration's `types:`, by dotted path. Raises Unreadable when a line is not an event.
    """
    widened = with_hints(shape, hints)
    rows = _FIRST
    misfit = first_misfit(widened, ndjson)
    while misfit is not None:
        found = listed(lines.slice(misfit.row, rows))
        wider = with_hints(reduce(_absorb, found, widened), hints)
        rows = min(rows * _FASTER, len(lines))
        if wider == widened:  # no structure tells of it: the value itself is what does not fit
            wider, rows = _widen(widened, misfit), _FIRST
        if wider == widened:  # the path names nothing in the tree: let everything in as JSON instead
            wider = _opaque(widened)
        if wider == widened:
            raise Unreadable(f"row {misfit.row} fits nothing: {misfit.path}")
        widened = wider
        misfit = first_misfit(widened, ndjson)
    return widened


def with_hints(shape: Shape, hints: dict[str, str]) -> Shape:
    """`shape` with the paths that the configuration types read as JSON text, to be cast exactly."""
    event, metadata = shape.event, shape.metadata
    for path, sql_type in hints.items():
        root, *parts = path.split(".")
        if root == "event":
            event = _replace(event, parts, Any(sql_type))
        elif root == "metadata":
            metadata = _replace(metadata, parts, Any(sql_type))
    return Shape(event, metadata, shape.open)


def _absorb(shape: Shape, structure: AnyValue) -> Shape:
    if not isinstance(structure, dict):
        return shape  # not an object: the check will say so
    event, metadata = _struct(structure.get("event")), _struct(structure.get("metadata"))
    room = MAX_LEAVES - shape.leaves()
    merged_event = merge(shape.event, event, depth=1, room=room)
    room -= count_leaves(merged_event) - count_leaves(shape.event)
    merged_metadata = merge(shape.metadata, metadata, depth=1, room=room)
    assert isinstance(merged_event, Struct)
    assert isinstance(merged_metadata, Struct)
    return Shape(merged_event, merged_metadata, shape.open or not structure.keys() <= _TOP_LEVEL)


def _struct(structure: AnyValue) -> Struct:
    node = _node(structure)
    return node if isinstance(node, Struct) else Struct({})


def _node(structure: AnyValue, *, in_list: bool = False) -> Node:
    if isinstance(structure, dict):
        return Struct({name: _node(child, in_list=in_list) for name, child in structure.items()})
    if isinstance(structure, list):
        element = _node(structure[0], in_list=True) if structure else Null()
        return Any() if isinstance(element, Any) else List(element)
    if structure == "JSON":  # of one event: an empty object, or elements of one array that disagree
        return Any() if in_list else Struct({})
    kind = _KINDS.get(structure)
    return Scalar(kind) if kind else Null()


def _widen(shape: Shape, misfit: Misfit) -> Shape:
    """`shape` with the node at the misfit's path widened: an unknown field opens its object, a value becomes `Any`."""
    path = misfit.path
    if not path:
        return Shape(shape.event, shape.metadata, True)
    if path.startswith(".event"):
        event = _widen_at(shape.event, path[len(".event") :], misfit.unknown_field)
        return Shape(event if isinstance(event, Struct) else shape.event, shape.metadata, shape.open)
    metadata = _widen_at(shape.metadata, path[len(".metadata") :], misfit.unknown_field)
    return Shape(shape.event, metadata if isinstance(metadata, Struct) else shape.metadata, shape.open)


def _widen_at(node: Node, path: str, unknown_field: bool) -> Node:
    if isinstance(node, List):
        return Any()  # a list is exact as a whole or not at all
    if isinstance(node, Struct):
        if not path:
            return Struct(node.fields, True) if unknown_field else node
        # Names are not escaped in the path: the longest child that it continues with is the one meant.
        for name in sorted(node.fields, key=len, reverse=True):
            rest = path[len(name) + 1 :]
            if path.startswith("." + name) and (not rest or rest[0] in ".["):
                return Struct(node.fields | {name: _widen_at(node.fields[name], rest, unknown_field)}, node.open)
        return node
    return Any()


def _replace(node: Node, parts: list[str], leaf: Any) -> Struct:
    """`node`, an object, with the leaf at `parts` replaced where it is known, made where it is not."""
    fields = dict(node.fields) if isinstance(node, Struct) else {}
    is_open = isinstance(node, Struct) and node.open
    head = next((name for name in fields if name.lower() == parts[0].lower()), parts[0])
    fields[head] = leaf if len(parts) == 1 else _replace(fields.get(head, Struct({})), parts[1:], leaf)
    return Struct(fields, is_open)


def _opaque(shape: Shape) -> Shape:
    def any_fields(node: Struct) -> Struct:
        return Struct({name: Any() for name in node.fields}, True)

    return Shape(any_fields(shape.event), any_fields(shape.metadata), True)
