"""Calls of functions and operators, whose arguments are read as what the function can take."""

from __future__ import annotations

import re
from collections.abc import Callable

from flows.columns import quoted
from flows.expression import functions
from flows.expression.values import Value, as_instant, as_number, as_text, derive

_LIKE = {"~~": "LIKE", "!~~": "NOT LIKE", "~~*": "ILIKE", "!~~*": "NOT ILIKE", "~~~": "GLOB"}
_INFIX = functions.words("+ - * / // % ** ^ || & | << >> && @> <@ ^@ <->")


def first_that_binds(name: str, values: list[Value]) -> Value:
    import duckdb

    readings: list[Callable[[Value], Value]] = [lambda v: as_text(v) if v.kind == "json" else v]
    if name in functions.ARITHMETIC:
        plain = not any(value.kind in ("temporal", "interval", "other") for value in values)
        if plain:
            values = _without_stray_decimals([as_number(value) for value in values])
    elif name in functions.TEMPORAL:
        readings = [lambda v: v if v.constant or v.kind == "number" else as_instant(v)]
    elif name == "||" and not any(value.kind == "other" for value in values):
        readings = [as_text]
    elif name in _LIKE or name.startswith(("regexp_", "string_")):
        readings = [as_text, lambda v: v if v.constant else as_text(v), lambda v: v]
    readings += [
        lambda v: v if v.constant else as_text(v),
        lambda v: v if v.constant else as_number(v),
        lambda v: v if v.constant else as_instant(v),
    ]
    failure: duckdb.Error | None = None
    for reading in readings:
        try:
            return call(name, [reading(value) for value in values])
        except duckdb.Error as exc:
            failure = failure or exc
    if failure is None:
        raise AssertionError("unreachable: a reading either binds or raises")
    raise failure


def _without_stray_decimals(values: list[Value]) -> list[Value]:
    """`1.08` is a DECIMAL to DuckDB, and a product with it overflows early: DOUBLE, unless a column is a DECIMAL."""
    if any(value.type.startswith("DECIMAL") and not _is_decimal_literal(value) for value in values):
        return values
    return [derive(f"CAST({v.sql} AS DOUBLE)", v, type="DOUBLE") if _is_decimal_literal(v) else v for v in values]


def _is_decimal_literal(value: Value) -> bool:
    return value.type.startswith("DECIMAL") and re.fullmatch(r"-?[\d.]+", value.sql) is not None


def call(name: str, values: list[Value]) -> Value:
    texts = [value.sql for value in values]
    if name in _LIKE:
        return derive(f"({texts[0]} {_LIKE[name]} {texts[1]})", *values, type="BOOLEAN", risky=True)
    if name in ("->", "->>") or (name in _INFIX and len(texts) == 2):
        return derive(f"({texts[0]} {name} {texts[1]})", *values, risky=True)
    if name in ("-", "+", "@") and len(texts) == 1:
        return derive(f"({name} {texts[0]})", *values, risky=True)
    return derive(f"{quoted(name)}({', '.join(texts)})", *values, risky=True)
