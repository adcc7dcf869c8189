"""Two values that meet: in a comparison one is read as what the other is, in a choice all become one type."""

from __future__ import annotations

from flows.expression.syntax import run
from flows.expression.values import Value, as_boolean, as_instant, as_json, as_number, as_text, derive


def compare(operator: str, left: Value, right: Value) -> Value:
    """A comparison that reads a path as the type of the literal beside it."""
    left, right = _alike(left, right)
    return derive(f"({left.sql} {operator} {right.sql})", left, right, type="BOOLEAN", risky=_may_overflow(left, right))


def _may_overflow(left: Value, right: Value) -> bool:
    return left.type != right.type and (left.type.startswith("DECIMAL") or right.type.startswith("DECIMAL"))


def _alike(left: Value, right: Value) -> tuple[Value, Value]:
    if right.constant and not left.constant:
        return _as_literal(left, right)
    if left.constant and not right.constant:
        right, left = _as_literal(right, left)
        return left, right
    kinds = {left.kind, right.kind}
    if "null" in kinds or (len(kinds) == 1 and not kinds & {"json", "other"}):
        return left, right
    if "temporal" in kinds and kinds <= {"temporal", "text", "json"}:
        target = left.type if left.kind == "temporal" else right.type
        return as_instant(left, target), as_instant(right, target)
    if "number" in kinds:
        return as_number(left), as_number(right)
    if "boolean" in kinds:
        return as_boolean(left), as_boolean(right)
    if "other" in kinds and left.type != right.type:
        return as_text(left), as_text(right)
    return (as_text(left), as_text(right)) if "json" in kinds else (left, right)


def _as_literal(value: Value, constant: Value) -> tuple[Value, Value]:
    kind = constant.kind
    if kind == "number":
        return as_number(value, constant), constant
    if kind == "boolean":
        return as_boolean(value), constant
    if kind == "text":
        if value.kind == "temporal":
            return value, as_instant(constant, value.type)
        if value.kind == "interval":
            return value, derive(f"TRY_CAST({constant.sql} AS INTERVAL)", constant, type="INTERVAL")
        if value.kind == "number" and not value.leaf and _is_number(constant):
            return value, as_number(constant)
        return as_text(value), constant
    if kind == "temporal":
        return as_instant(value, constant.type), constant
    if kind == "json":
        return as_text(value), as_text(constant)
    if kind == "null" or value.type == constant.type:
        return value, constant
    return derive(f"TRY_CAST({value.sql} AS {constant.type})", value), constant


def _is_number(constant: Value) -> bool:
    return bool(run(f"SELECT {as_number(constant).sql} IS NOT NULL")[0][0])


def unified(values: list[Value]) -> list[Value]:
    """Values that share a type: JSON where one is JSON, else an instant beside constant text, else text."""
    kinds = {value.kind for value in values} - {"null"}
    if len(kinds) < 2:
        return values
    if "json" in kinds:
        return [as_json(value) for value in values]
    if kinds == {"temporal", "text"} and all(v.constant for v in values if v.kind == "text"):
        target = next(value.type for value in values if value.kind == "temporal")
        return [as_instant(value, target) for value in values]
    if "text" in kinds or kinds >= {"number", "boolean"}:
        return [as_text(value) for value in values]
    return values
