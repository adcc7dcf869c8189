"""How a table's columns grow with what arrives: new fields become columns, known columns keep their type for good.

Types here are Arrow's. Only types that Delta holds appear: int64, double, string, bool, decimal128, timestamp[us, UTC],
date32, lists and structs of these.
"""

from __future__ import annotations

import pyarrow as pa

MAX_COLUMNS = 1_000
"""Leaf columns a table may grow to under `event` and `metadata`; what comes after stays in `_rescued`."""

MAX_DEPTH = 16
"""Nesting a table may grow to: the Delta log's own reader stops near 50."""

_OWN = ("_extra", "_offset", "_partition")


def evolve(table: pa.Schema, batch: pa.Schema, *, room: int | None = None) -> pa.Schema:
    """`table` with the columns that only `batch` has; column order and types that are there stay as they are."""
    if room is None:
        room = MAX_COLUMNS - sum(leaves(field.type) for field in table)
    names = set(table.names)
    fields = []
    for field in table:
        if field.name in batch.names:
            merged, room = _merge(field.type, batch.field(field.name).type, room, 0)
            fields.append(field.with_type(merged))
        else:
            fields.append(field)
    lower = {name.lower() for name in names}
    for field in batch:
        if field.name not in names and field.name.lower() not in lower and leaves(field.type):
            added, room = _added(field.type, room, 0)
            if added is not None:
                fields.append(pa.field(field.name, added))
    return pa.schema(fields)


def for_tables(batch: pa.Schema) -> pa.Schema:
    """The columns of a batch that a table can have: the others (`_offset`, `_extra`, …) are for the writer's own use."""
    return pa.schema([field for field in batch if field.name not in _OWN])


def without_empty_structs(schema: pa.Schema) -> pa.Schema:
    """The schema without the columns that have no field yet: a table cannot hold them."""
    return pa.schema([field for field in schema if not (pa.types.is_struct(field.type) and not len(field.type))])


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """A schema as deltalake gives it, in the types and with the names of list elements that are used everywhere here."""
    return pa.schema([pa.field(field.name, _plain(field.type)) for field in schema])


def leaves(of: pa.DataType) -> int:
    """How many columns a type makes: a list counts as one."""
    return sum(leaves(child.type) for child in of) if pa.types.is_struct(of) else 1


def settled(of: pa.DataType) -> bool:
    """Whether a column can be made of this type: some values are known only to be null."""
    if pa.types.is_null(of):
        return False
    if pa.types.is_list(of):
        return settled(of.value_type)
    return not pa.types.is_struct(of) or any(settled(child.type) for child in of)


def _merge(known: pa.DataType, new: pa.DataType, room: int, depth: int) -> tuple[pa.DataType, int]:
    if pa.types.is_struct(known) and pa.types.is_struct(new):
        children, room = _children(known, new, room, depth)
        return pa.struct(children), room
    if pa.types.is_list(known) and pa.types.is_list(new):
        element, room = _merge(known.value_type, new.value_type, room, depth + 1)
        return pa.list_(pa.field("element", element)), room
    return known, room


def _children(known: pa.StructType, new: pa.StructType, room: int, depth: int) -> tuple[list[pa.Field], int]:
    children = []
    spelled = {child.name.lower() for child in known}
    for child in known:
        index = new.get_field_index(child.name)
        if index < 0:
            children.append(child)
            continue
        merged, room = _merge(child.type, new.field(index).type, room, depth + 1)
        children.append(child.with_type(merged))
    for child in new:
        if child.name.lower() in spelled or known.get_field_index(child.name) >= 0:
            continue  # another spelling of a column that is there: readers ignore case, so it is rescued instead
        added, room = _added(child.type, room, depth + 1)
        if added is not None:
            children.append(pa.field(child.name, added))
            spelled.add(child.name.lower())
    return children, room


def _added(new: pa.DataType, room: int, depth: int) -> tuple[pa.DataType | None, int]:
    """The type of a new column, as much of it as there is room for; None when there is none."""
    if not settled(new) or depth > MAX_DEPTH or room < 1:
        return None, room
    if pa.types.is_struct(new):
        children, room = _children(pa.struct([]), new, room, depth)
        return (pa.struct(children) if children else None), room
    if pa.types.is_list(new):
        element, _ = _added(new.value_type, room, depth + 1)
        return (pa.list_(pa.field("element", element)), room - 1) if element is not None else (None, room)
    return new, room - 1


def _plain(of: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(of):
        return pa.struct([pa.field(child.name, _plain(child.type)) for child in of])
    if pa.types.is_list(of):
        return pa.list_(pa.field("element", _plain(of.value_type)))
    if pa.types.is_large_string(of) or pa.types.is_string_view(of):
        return pa.string()
    return of
