"""What is kept of an event for an aggregate: a value in one of few types, the same whatever type its column had.

A field may be BIGINT in one batch, DOUBLE or JSON in the next, and absent before that. Here its value is read as what the
aggregate takes, exactly where it can be, so that rows of different batches can be put together again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from flows.expression.values import Value, as_boolean, as_number, as_text, derive

NOTHING = '"NULL"'
"""The type of what no event has had so far."""

_SMALL = re.compile(r"(U?(TINYINT|SMALLINT|INTEGER)|BIGINT)$")
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)$")
_BIGINT_DIGITS = 19
_MOST_DIGITS = 38
_SUMMABLE_DIGITS = 28  # ten billion of these still fit DECIMAL(38)


def number_slot(value: Value) -> Value:
    """The value as a number that can be added up without an overflow: BIGINT, DECIMAL or DOUBLE."""
    number = as_number(value)
    decimal = _DECIMAL.match(number.type)
    if number.type in (NOTHING, "BIGINT", "DOUBLE") or (decimal and int(decimal[1]) <= _SUMMABLE_DIGITS):
        return number
    return _cast(number, "BIGINT" if _SMALL.match(number.type) else "DOUBLE")


def value_slot(value: Value) -> Value:
    """The value as a number, a BOOLEAN, a DATE, an instant or else as text."""
    if value.kind == "number":
        if _DECIMAL.match(value.type) or value.type in ("BIGINT", "DOUBLE"):
            return value
        wide = "DOUBLE" if value.type == "FLOAT" else "DECIMAL(38,0)"
        return _cast(value, "BIGINT" if _SMALL.match(value.type) else wide)
    if value.kind == "temporal" and value.type.startswith("TIMESTAMP"):
        return _cast(value, "TIMESTAMP WITH TIME ZONE")
    return value if value.kind in ("boolean", "null") or value.type == "DATE" else as_text(value)


def presence_slot(value: Value) -> Value:
    """True where there is a value."""
    if value.kind == "null":
        return value
    return derive(f"CASE WHEN {value.sql} IS NOT NULL THEN true END", value, type="BOOLEAN")


def condition_slot(value: Value) -> Value:
    """True where the value is."""
    return derive(f"CASE WHEN {as_boolean(value).sql} THEN true END", value, type="BOOLEAN")


def common_type(types: Iterable[str]) -> str:
    """The type that holds values of all of these, numbers exactly where one can; text where the kinds are mixed."""
    kinds = set(types) - {NOTHING}
    if len(kinds) < 2:
        return kinds.pop() if kinds else NOTHING
    if kinds == {"DATE", "TIMESTAMP WITH TIME ZONE"}:
        return "TIMESTAMP WITH TIME ZONE"
    numbers = {kind for kind in kinds if kind in ("BIGINT", "HUGEINT", "DOUBLE") or _DECIMAL.match(kind)}
    if numbers != kinds:
        return "VARCHAR"
    if "DOUBLE" in kinds:
        return "DOUBLE"
    if kinds == {"BIGINT", "HUGEINT"}:
        return "HUGEINT"
    decimals = [(int(match[1]), int(match[2])) for kind in kinds if (match := _DECIMAL.match(kind))]
    scale = max(scale for _, scale in decimals)
    whole = max(precision - scale for precision, scale in decimals)
    whole = max(whole, _BIGINT_DIGITS if "BIGINT" in kinds else 0, _MOST_DIGITS if "HUGEINT" in kinds else 0)
    return f"DECIMAL({_MOST_DIGITS},{scale})" if whole + scale <= _MOST_DIGITS else "DOUBLE"


def converted(sql: str, kind: str, target: str) -> str:
    """SQL of a slot of type `kind` as the type that `common_type` gave."""
    if kind == target:
        return sql
    if kind == NOTHING:
        return f"CAST(NULL AS {held_type(target)})"
    if target == "VARCHAR":
        return as_text(Value(sql, kind, frozenset({(sql, kind)}))).sql
    return f"CAST({sql} AS {target})"


def held_type(kind: str) -> str:
    """The type of a table's column for slots of this type."""
    return "BOOLEAN" if kind == NOTHING else kind


def _cast(value: Value, target: str) -> Value:
    return derive(f"TRY_CAST({value.sql} AS {target})", value, type=target)
