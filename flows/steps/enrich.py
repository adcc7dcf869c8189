"""`enrich`: puts beside an event what a lookup has for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from flows.columns import Path, column, dotted, literal, quoted
from flows.expression import compile_expression
from flows.expression.paths import resolve_names
from flows.expression.values import Value, as_text
from flows.kinds import Data, Expression, FieldPath
from flows.steps.layer import DROP, Layer
from flows.steps.set import assign
from flows.steps.targets import parse_path

Constant = str | bool | int | float


class Enrich(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Looks the text of `on` up in `lookup`, and sets what is found below `into`: every column but the key, or `fields`.

    Texts are compared, so 5, 5.0 and '5' match. Where nothing is found (a miss; a NULL is one) the fields are NULL, or
    what `default` has for them. Rows of an event are never added or taken away. A changed file is taken at a batch
    boundary, so an event that is read again after a crash may meet a newer one.

        lookups:
          teams: {file: teams.csv, key: source}
        steps:
          - enrich: {lookup: teams, on: source, into: event.team, default: {name: nobody}}
    """

    lookup: str
    on: Expression
    into: FieldPath
    fields: tuple[str, ...] = ()
    default: dict[str, Data] = {}

    @property
    def asks(self) -> str:
        """What tells which columns of which lookup the step asks for."""
        return " ".join([self.lookup, *(quoted(field) for field in self.fields)])


class Found(msgspec.Struct, frozen=True):
    """What a lookup gives for an `Enrich.asks`: a function of DuckDB, and its columns.

    `function` takes the hash of a text and the text, and gives a struct of `hit` and the `leaves` (path in the row, DuckDB
    type; JSON as its text) as `c0`, `c1`, …; `missing` are the fields asked for that the lookup has not.
    """

    function: str
    leaves: tuple[tuple[Path, str], ...]
    missing: tuple[str, ...] = ()


def missed(index: int) -> Path:
    """The column (BOOLEAN) that tells for which rows the step at `index` found nothing; NULL in a dropped one."""
    return (f"_missed_{index}",)


def compile_enrich(step: Enrich, index: int, layer: Layer, lookups: Mapping[str, Found]) -> Layer:
    """Three layers: the text that is looked up, what was found, and the columns that it becomes.

    `lookups` has what `step.asks` for. Raises ValueError where it has not.
    """
    found = lookups.get(step.asks)
    if found is None:
        raise ValueError(f"there is no lookup {step.lookup!r}")
    into = parse_path(step.into)
    compiled = compile_expression(step.on, layer.columns)
    warnings = [*layer.warnings, *([compiled.warning] if compiled.warning else [])]
    warnings += [f"the lookup {step.lookup!r} has no column {field!r}" for field in found.missing]
    fate = [DROP] if layer.drops else []
    text = layer.guarded(key_text(compiled.sql, compiled.type))
    on = layer.select([*layer.carried(), *fate, f'{text} AS "_on"'])
    looked_up = f'{quoted(found.function)}(hash("_on"), "_on")'
    row = on.select([*layer.carried(), *fate, f'{layer.guarded(looked_up)} AS "_row"'])
    values = []
    for number, (below, kind) in enumerate(found.leaves):
        path = resolve_names((*into, *below), layer.columns)
        values.append((path, *_value(number, kind, _default(step, below))))
    assigned = assign(layer.columns, values)
    assigned[missed(index)] = ("NOT struct_extract(\"_row\", 'hit')", "BOOLEAN")
    items = [f"{sql} AS {column(path)}" if sql != column(path) else sql for path, (sql, _) in assigned.items()]
    above = row.select([*items, *fate], columns={path: kind for path, (_, kind) in assigned.items()})
    return msgspec.structs.replace(above, warnings=tuple(warnings))


def key_text(sql: str, kind: str) -> str:
    """SQL of the text by which a value of DuckDB type `kind` is looked up: of 5.0 it is `5`, in a JSON column too."""
    text = as_text(Value(sql, kind)).sql
    if kind == "JSON":
        number = as_text(Value(f"TRY_CAST({text} AS DOUBLE)", "DOUBLE")).sql
        text = f"CASE WHEN json_type({sql}) = 'DOUBLE' THEN {number} ELSE {text} END"
    return f"CAST({text} AS VARCHAR)"


def default_problem(value: Any) -> str | None:
    """Why a value cannot stand in `default`; None where it can."""
    return None if isinstance(value, Constant) else "expected a text, a number, true or false"


def _default(step: Enrich, below: Path) -> Constant | None:
    names = {dotted(below).lower(), *([below[0].lower()] if len(below) == 1 else [])}
    return next((value for name, value in step.default.items() if name.lower() in names), None)


def _value(number: int, kind: str, default: Constant | None) -> tuple[str, str]:
    """(SQL, type) of a column of the row, with what stands in for it in a miss; of two types it is the one for both."""
    name = f"struct_extract(\"_row\", 'c{number}')"
    sql = f"CAST({name} AS JSON)" if kind == "JSON" else name
    if default is None:
        return sql, kind
    constant, given = _constant(default)
    common = _common(kind, given)
    if common == "JSON":
        constant = f"to_json({constant})"
    elif common == "VARCHAR" and kind != "VARCHAR":
        sql = as_text(Value(sql, kind)).sql
    miss = "NOT struct_extract(\"_row\", 'hit')"
    return f"CASE WHEN {miss} THEN CAST({constant} AS {common}) ELSE CAST({sql} AS {common}) END", common


def _constant(value: Constant) -> tuple[str, str]:
    if isinstance(value, bool):
        return str(value).lower(), "BOOLEAN"
    if isinstance(value, int):
        return str(value), "BIGINT" if -(2**63) <= value < 2**63 else "DOUBLE"
    if isinstance(value, float):
        return f"{value!r}::DOUBLE", "DOUBLE"
    return literal(value), "VARCHAR"


def _common(kind: str, given: str) -> str:
    if kind in (given, "JSON"):
        return kind
    if kind in ("BIGINT", "DOUBLE") and given in ("BIGINT", "DOUBLE"):
        return "DOUBLE"
    return "VARCHAR"
