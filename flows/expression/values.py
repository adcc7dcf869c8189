"""A compiled piece of an expression, its type, and how a value of one kind is read as another.

An event's value that cannot be read so is NULL, never an error. The readings depend on the value alone and not on the
type its column happens to have in this batch: 5 is '5' as text whether the column is BIGINT, DOUBLE or JSON.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from flows.columns import literal, quoted
from flows.expression.syntax import describe, run

Refs = frozenset[tuple[str, str]]

_MAX_SQL = 200_000  # characters

_NUMBER = re.compile(
    r"(?:TINY|SMALL|BIG|HUGE|U\w*)?INT(?:EGER)?$|U(?:TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)$|DOUBLE$|FLOAT$|DECIMAL"
)


class Value(msgspec.Struct, frozen=True):
    """SQL text and its DuckDB type. `refs`: the columns (SQL name, type) it reads; none makes it a constant.

    `leaf`: it is what an event carries, not something computed. `risky`: it can raise for one event.
    """

    sql: str
    type: str
    refs: Refs = frozenset()
    leaf: bool = False
    risky: bool = False

    @property
    def constant(self) -> bool:
        return not self.refs

    @property
    def kind(self) -> str:
        """number, text, boolean, temporal, interval, json, null, or other."""
        if self.type == "JSON":
            return "json"
        if self.type == '"NULL"':
            return "null"
        if self.type == "VARCHAR":
            return "text"
        if self.type == "BOOLEAN":
            return "boolean"
        if self.type.endswith("]") or self.type.startswith(("STRUCT", "MAP", "UNION")):
            return "other"
        if self.type == "DATE" or self.type.startswith("TIME"):
            return "temporal"
        if self.type == "INTERVAL":
            return "interval"
        return "number" if _NUMBER.match(self.type) else "other"


NULL = Value("NULL", '"NULL"')


def derive(  # the keyword `type` is the field's own name
    sql: str,
    *sources: Value,
    type: str | None = None,  # noqa: A002
    risky: bool = False,
    leaf: bool = False,
) -> Value:
    """A value made from others; its type is asked of DuckDB where it is not given. Raises duckdb.Error."""
    if len(sql) > _MAX_SQL:
        import duckdb

        raise duckdb.InvalidInputException("too large once its conversions are spelled out")
    refs: Refs = frozenset().union(*(source.refs for source in sources))
    found = type if type is not None else str(duck_type(sql, refs))
    return Value(sql, found, refs, leaf=leaf, risky=risky or any(source.risky for source in sources))


def duck_type(sql: str, refs: Refs) -> Any:
    """The DuckDB type of `sql` over columns of the types in `refs`."""
    return describe(f"SELECT {sql} FROM {_empty(refs)}")[0]


def run_over_nulls(value: Value) -> None:
    """Runs a value over one row of NULLs, which finds what only shows when it runs; raises duckdb.Error."""
    run(f"SELECT {value.sql} FROM {_empty(value.refs)}")


def as_number(value: Value, near: Value | None = None) -> Value:
    """The value as a number; exact beside an integer constant too large for a DOUBLE."""
    if value.kind in ("number", "null"):
        return value
    if value.kind == "boolean":
        return derive(f"CAST({value.sql} AS INTEGER)", value, type="INTEGER")
    exact = (
        near is not None and near.kind == "number" and len(near.sql.lstrip("-")) > 15 and near.sql.lstrip("-").isdigit()
    )
    target = "DECIMAL(38,9)" if exact else "DOUBLE"
    if value.kind == "text":
        return derive(_read_number(value.sql, target), value, type=target)
    if value.kind == "json":
        text = _read_number(as_text(value).sql, target)
        sql = f"CASE CAST({value.sql} AS VARCHAR) WHEN 'true' THEN 1 WHEN 'false' THEN 0 ELSE {text} END"
        return derive(sql, value, type=target)
    return derive("CAST(NULL AS DOUBLE)", value, type="DOUBLE")


def as_text(value: Value) -> Value:
    """The value as text: a JSON string without its quotes, a whole number without its `.0`.

    So a key's text stays what it was when its column becomes one of fractions, or of JSON.
    """
    if value.kind in ("text", "null"):
        return value
    if value.kind == "json":
        text = f"({value.sql} ->> '$')"
        fraction = f"json_type({value.sql}) = 'DOUBLE'"
        sql = f"CASE WHEN {fraction} THEN {_text_of_double(f'TRY_CAST({text} AS DOUBLE)', text)} ELSE {text} END"
        return derive(sql, value, type="VARCHAR")
    if value.type in ("DOUBLE", "FLOAT"):
        return derive(_text_of_double(value.sql, f"CAST({value.sql} AS VARCHAR)"), value, type="VARCHAR")
    if value.kind == "other":
        return derive(f"CAST(to_json({value.sql}) AS VARCHAR)", value, type="VARCHAR")
    return derive(f"CAST({value.sql} AS VARCHAR)", value, type="VARCHAR")


def _text_of_double(number: str, text: str) -> str:
    whole = f"{number} = trunc({number}) AND abs({number}) <= 9007199254740992"
    return f"CASE WHEN {whole} THEN CAST(TRY_CAST({number} AS BIGINT) AS VARCHAR) ELSE {text} END"


def as_boolean(value: Value) -> Value:
    """The value as a boolean: true, 'true', 1; NULL where it is neither yes nor no."""
    if value.kind in ("boolean", "null"):
        return value
    return derive(f"TRY_CAST({as_text(value).sql} AS BOOLEAN)", value, type="BOOLEAN")


def as_instant(value: Value, target: str = "TIMESTAMP WITH TIME ZONE") -> Value:
    """The value as a date or time of type `target`; text without an offset is UTC."""
    if value.kind in ("temporal", "null"):
        return value
    if value.kind in ("text", "json"):
        return derive(f"TRY_CAST({as_text(value).sql} AS {target})", value, type=target)
    return derive(f"CAST(NULL AS {target})", value, type=target)


def as_json(value: Value) -> Value:
    """The value as JSON."""
    if value.kind in ("json", "null"):
        return value
    return derive(f"to_json({value.sql})", value, type="JSON")


def field(value: Value, name: str) -> Value:
    """What lies under `name` in a struct, map or JSON value; NULL where there is none."""
    if value.kind == "json":
        path = literal('$."' + name.replace("\\", "\\\\").replace('"', '\\"') + '"')
        return _without_json_null(f"json_extract({value.sql}, {path})", value)
    found = duck_type(value.sql, value.refs)
    if found.id == "struct":
        for exact in (True, False):
            for key, kind in found.children:
                if key == name or (not exact and key.lower() == name.lower()):
                    sql = f"struct_extract({value.sql}, {literal(key)})"
                    return derive(sql, value, type=str(kind), leaf=value.leaf)
    if found.id == "map" and str(found.children[0][1]) == "VARCHAR":
        return derive(f"map_extract_value({value.sql}, {literal(name)})", value, leaf=value.leaf)
    return NULL


def element(value: Value, index: Value) -> Value:
    """An element of a list, counted from 1 (from the end when negative); of a JSON array likewise."""
    if value.kind == "json":
        at = f"TRY_CAST({index.sql} AS BIGINT)"
        path = f"(CASE WHEN {at} < 0 THEN '$[#' || {at} || ']' ELSE '$[' || ({at} - 1) || ']' END)"
        return _without_json_null(f"CASE WHEN {at} <> 0 THEN json_extract({value.sql}, {path}) END", value, index)
    return derive(f"{value.sql}[{index.sql}]", value, index, leaf=value.leaf)


def struct_of(fields: list[tuple[str, Value]]) -> Value:
    """A struct of the fields, NULL when all of them are."""
    if not fields:
        return NULL
    packed = ", ".join(f"{quoted(name)} := {value.sql}" for name, value in fields)
    empty = " AND ".join(f"{value.sql} IS NULL" for _, value in fields)
    return derive(
        f"CASE WHEN {empty} THEN NULL ELSE struct_pack({packed}) END", *(value for _, value in fields), leaf=True
    )


def _without_json_null(sql: str, *sources: Value) -> Value:
    return derive(f"CAST(nullif(CAST({sql} AS VARCHAR), 'null') AS JSON)", *sources, type="JSON", leaf=True)


def _read_number(text: str, target: str) -> str:
    if target != "DOUBLE":
        return f"TRY_CAST({text} AS {target})"
    # 'nan' and 'infinity' are words in an event, not quantities: NaN is greater than any number in DuckDB
    return f"CASE WHEN isfinite(TRY_CAST({text} AS DOUBLE)) THEN TRY_CAST({text} AS DOUBLE) END"


def _empty(refs: Refs) -> str:
    if not refs:
        return "(SELECT 1)"
    return "(SELECT " + ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in sorted(refs)) + ")"
