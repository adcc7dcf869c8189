"""An expression compiled for given columns: SQL that gives one value an event and never raises."""

from __future__ import annotations

import msgspec

from flows.columns import Columns
from flows.expression.check import check
from flows.expression.lower import lower
from flows.expression.paths import ROOTS, Scope
from flows.expression.syntax import InvalidExpression, Node, parse
from flows.expression.values import NULL, Value, as_boolean, derive, run_over_nulls


class Compiled(msgspec.Struct, frozen=True):
    """`sql` has the DuckDB type `type`; `warning` says why it is NULL for every event, where it is."""

    sql: str
    type: str
    warning: str | None = None


def compile_expression(
    text: str, columns: Columns, *, condition: bool = False, roots: frozenset[str] = ROOTS
) -> Compiled:
    """The expression over `columns`; as a BOOLEAN where it is a condition. `roots` as in `flows.expression.check`.

    What does not bind for these columns' types is NULL, with a warning. Raises InvalidExpression for what
    `flows.expression.check` refuses.
    """
    problems = check(text, roots=roots)
    if problems:
        raise InvalidExpression(problems[0])
    return compile_node(parse(text), text, columns, condition=condition)


def compile_node(node: Node, text: str, columns: Columns, *, condition: bool = False) -> Compiled:
    """As `compile_expression`, of a tree that has been checked; a warning calls it `text`."""
    import duckdb

    try:
        value = lower(node, Scope(columns))
        if condition:
            value = as_boolean(value)
        value = _guarded(_settled(value))
        _prove(value)
    except duckdb.Error as exc:
        reason = str(exc).strip().splitlines()[0]
        return Compiled("NULL", "BOOLEAN" if condition else NULL.type, f"{text}: {reason}")
    return Compiled(value.sql, value.type)


def _settled(value: Value) -> Value:
    """A DECIMAL that only comes from a literal such as `1.5` is a DOUBLE, as JSON's numbers are."""
    if (
        not value.type.startswith("DECIMAL")
        or "DECIMAL" in value.sql
        or any("DECIMAL" in kind for _, kind in value.refs)
    ):
        return value
    return derive(f"CAST({value.sql} AS DOUBLE)", value, type="DOUBLE")


def _guarded(value: Value) -> Value:
    """An error of one event is that event's NULL. Only what can raise is wrapped."""
    return derive(f"TRY({value.sql})", value, type=value.type) if value.risky else value


def _prove(value: Value) -> None:
    if value.risky:  # a constant pattern, for one, is compiled when the query runs and not when it binds
        run_over_nulls(value)
