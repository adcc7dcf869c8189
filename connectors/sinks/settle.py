"""What columns a batch's JSON values make: the fields of their objects, as those of a struct would have been.

A field whose values disagree about their kind (an object in most events, a text in one) arrives as JSON text. What most
of them have in common is still a table's to hold: the objects' fields become columns, and only what is no object has
to be rescued.
"""

from __future__ import annotations

from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from connectors.columns import Path, quoted
from connectors.sinks.conform import json_paths

_NUMBERS = ("BIGINT", "UBIGINT", "HUGEINT", "UHUGEINT", "DOUBLE")


def settle_json(batch: pa.Table, table: pa.Schema, engine: duckdb.DuckDBPyConnection) -> pa.Schema:
    """The batch's schema with each JSON column as the type that its values would make, for `evolve` to add.

    The first value says which kind of column it is. Columns that `table` has already keep the table's type, whatever
    came; one of objects gets the fields that the batch's objects have beside the table's.
    """
    schema = batch.schema
    for path in sorted(json_paths(schema)):
        known = _at(table, path)
        if known is not None and not pa.types.is_struct(known):
            continue
        engine.register("settling", batch)
        try:
            settled = _settled(path, engine, objects=known is not None)
        finally:
            engine.unregister("settling")
        schema = _with_type(schema, path, settled)
    return schema


def _settled(path: Path, engine: duckdb.DuckDBPyConnection, *, objects: bool) -> pa.DataType:
    value = ".".join(quoted(part) for part in path)
    wanted = f"json_type({value}) = 'OBJECT'" if objects else f"json_type({value}) <> 'NULL'"
    found = engine.execute(
        "SELECT kind, structure, fractions FROM (SELECT row_number() OVER () AS place,"
        f" json_type({value}) AS kind, TRY(json_structure({value}))::VARCHAR AS structure,"
        f" bool_or(json_type({value}) = 'DOUBLE') OVER () AS fractions FROM settling WHERE {wanted})"
        " GROUP BY ALL ORDER BY min(place)"
    ).fetchall()
    if not found:
        return pa.null()
    kind, structure, fractions = found[0]
    if kind in ("BIGINT", "UBIGINT") and fractions:
        return pa.float64()
    merged = None if structure is None else msgspec.json.decode(structure)
    if kind == "OBJECT":
        for _, other, _ in (row for row in found[1:] if row[0] == "OBJECT" and row[1] is not None):
            merged = _merged(merged, msgspec.json.decode(other))
    return pa.null() if merged is None else _arrow_type(merged)


def _merged(one: Any, other: Any) -> Any:
    """Two of `json_structure` as one: fields of both, a fraction among whole numbers, else the first."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {name: _merged(one.get(name), other.get(name)) for name in [*one, *(n for n in other if n not in one)]}
    if isinstance(one, list) and isinstance(other, list) and one and other:
        return [_merged(one[0], other[0])]
    if one in (None, "NULL", [], ["NULL"]) and other is not None:
        return other
    return "DOUBLE" if one in _NUMBERS and other == "DOUBLE" else one


def _arrow_type(structure: object) -> pa.DataType:
    """The column type for a `json_structure`; null where it settles nothing, as with a name that SQL would cut off."""
    if isinstance(structure, dict):
        fields: dict[str, pa.Field] = {}
        for name, child in structure.items():
            kind = _arrow_type(child)
            if name and "\0" not in name and name.lower() not in fields and not pa.types.is_null(kind):
                fields[name.lower()] = pa.field(name, kind)
        return pa.struct(list(fields.values())) if fields else pa.null()
    if isinstance(structure, list):
        element = _element_type(structure[0]) if structure else pa.null()
        return pa.null() if pa.types.is_null(element) else pa.list_(pa.field("element", element))
    return {
        "BIGINT": pa.int64(),
        "UBIGINT": pa.int64(),
        "DOUBLE": pa.float64(),
        "VARCHAR": pa.string(),
        "BOOLEAN": pa.bool_(),
    }.get(str(structure), pa.null())


def _element_type(structure: object) -> pa.DataType:
    """As `_arrow_type`, but of a list's elements, where every field must have its place: nothing there is rescued alone."""
    element = _arrow_type(structure)
    if isinstance(structure, dict):
        children = [_element_type(child) for child in structure.values()]
        if pa.types.is_null(element) or len(element) < len(structure) or any(map(pa.types.is_null, children)):
            return pa.null()
    return element


def _at(schema: pa.Schema, path: Path) -> pa.DataType | None:
    index = schema.get_field_index(path[0])
    found = schema.field(index).type if index >= 0 else None
    for part in path[1:]:
        if found is None or not pa.types.is_struct(found):
            return found
        child = found.get_field_index(part)
        found = found.field(child).type if child >= 0 else None
    return found


def _with_type(schema: pa.Schema, path: Path, new: pa.DataType) -> pa.Schema:
    index = schema.get_field_index(path[0])
    return schema.set(index, _field_with_type(schema.field(index), path[1:], new))


def _field_with_type(field: pa.Field, path: Path, new: pa.DataType) -> pa.Field:
    if not path:
        return field.with_type(new)
    return field.with_type(
        pa.struct([_field_with_type(child, path[1:], new) if child.name == path[0] else child for child in field.type])
    )
