"""The tree a shape is made of, and how two of them merge.

A node says which JSON values fit it *exactly*. Integers fit BIGINT only within 64 bits, and DOUBLE only within ±2^53;
whatever cannot be typed exactly widens to `Any`, which keeps the value's JSON text. Nothing is ever rounded to fit.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

MAX_DEPTH = 16
"""Levels of structs and lists that become columns; what lies deeper is kept as JSON. Delta readers give up near 50."""

MAX_LEAVES = 1_000
"""Columns a stream may grow to; fields past it are kept in `_rescued` (keys that are ids must not become columns)."""

_UNNAMEABLE = re.compile(r'["\\\x00-\x1f]')

Kind = Literal["BIGINT", "DOUBLE", "VARCHAR", "BOOLEAN"]


class Null(msgspec.Struct, frozen=True):
    """Only nulls so far: no column yet."""


class Scalar(msgspec.Struct, frozen=True):
    """Values of one JSON kind."""

    kind: Kind


class Any(msgspec.Struct, frozen=True):
    """Values that no one type holds exactly: kept as JSON text. `hint` is the SQL type the configuration asks for."""

    hint: str | None = None


class List(msgspec.Struct, frozen=True):
    """Arrays whose elements all fit `element`."""

    element: Node


class Struct(msgspec.Struct, frozen=True):
    """Objects. `open` ones may have keys beside `fields`: those travel in `_extra`."""

    fields: dict[str, Node]
    open: bool = False


Node = Null | Scalar | Any | List | Struct


class Shape(msgspec.Struct, frozen=True):
    """What an event line may hold: `event` and `metadata`, and whether it has other top-level fields."""

    event: Struct = Struct({})
    metadata: Struct = Struct({})
    open: bool = False

    def leaves(self) -> int:
        """How many columns the shape has."""
        return count_leaves(self.event) + count_leaves(self.metadata)


def nameable(key: str) -> bool:
    """Whether a column can have this name: the strict decode and the typed parse take no escapes in one."""
    return bool(key) and not _UNNAMEABLE.search(key)


def count_leaves(node: Node) -> int:
    """Columns under `node`: a list counts once."""
    if isinstance(node, Struct):
        return sum(count_leaves(child) for child in node.fields.values())
    return 0 if isinstance(node, Null) else 1


def merge(known: Node, new: Node, *, depth: int, room: int, in_list: bool = False) -> Node:
    """The narrowest node that both fit; `known`'s spelling and order of fields come first.

    `room` is how many leaves may still be added; structs past `MAX_DEPTH` become `Any`. Inside a list nothing can be
    left open, so there what cannot be a column makes the element `Any`.
    """
    if isinstance(known, Any) or known == new:
        return known
    if isinstance(known, Null):
        if isinstance(new, Struct):
            return merge(Struct({}), new, depth=depth, room=room, in_list=in_list)
        if isinstance(new, List):
            return merge(List(Null()), new, depth=depth, room=room, in_list=in_list)
        return new
    if isinstance(new, Null):
        return known
    if isinstance(known, Scalar) and isinstance(new, Scalar) and {known.kind, new.kind} == {"BIGINT", "DOUBLE"}:
        return Scalar("DOUBLE")
    if isinstance(known, List) and isinstance(new, List):
        if depth >= MAX_DEPTH:
            return Any()
        element = merge(known.element, new.element, depth=depth + 1, room=room, in_list=True)
        return Any() if isinstance(element, Any) else List(element)
    if isinstance(known, Struct) and isinstance(new, Struct):
        return Any() if depth >= MAX_DEPTH else _merge_structs(known, new, depth=depth, room=room, in_list=in_list)
    return Any()


def _merge_structs(known: Struct, new: Struct, *, depth: int, room: int, in_list: bool) -> Node:
    fields = dict(known.fields)
    spelled = {name.lower(): name for name in fields}
    left = room
    leave_open = known.open or new.open
    for name, child in new.fields.items():
        # SQL names ignore case, and so do most readers of the table: the first spelling gets the column.
        if not nameable(name) or spelled.setdefault(name.lower(), name) != name:
            leave_open = True
            continue
        before = fields.get(name, Null())
        merged = merge(before, child, depth=depth + 1, room=left, in_list=in_list)
        grown = count_leaves(merged) - count_leaves(before)
        if grown > left:
            leave_open = True
            continue
        left -= max(grown, 0)
        fields[name] = merged
    if in_list and (leave_open or any(isinstance(child, Any) for child in fields.values())):
        return Any()
    return Struct(fields, leave_open)
