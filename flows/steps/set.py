"""`set`: gives paths new values, computed from the event as it was before the step."""

from __future__ import annotations

import msgspec

from flows.columns import EXTRA, NO_EXTRA, SOURCE, TIMESTAMP, TIMESTAMP_TYPE, Columns, Path, column, literal, quoted
from flows.expression import compile_expression
from flows.expression.paths import resolve_names
from flows.expression.values import NULL, Value, as_instant, as_text
from flows.steps.layer import DROP, Layer
from flows.steps.results import leaves
from flows.steps.targets import parse_path, target_problem, without


class Set(msgspec.Struct, frozen=True):
    """Sets each path of `assignments` to its expression's value.

    All expressions see the event as it was before the step, as in SQL's UPDATE, so two paths can be swapped. Targets
    are `event.*`, `metadata.*`, `source` and `timestamp`; NULL leaves `source` and `timestamp` as they were. Missing
    levels are made; a value takes the place of what was at and below its path.

        steps:
          - set: {event.amount_usd: event.amount * 1.08, event.region: "coalesce(metadata.region, 'eu')"}
    """

    assignments: dict[str, str]


def compile_set(step: Set, layer: Layer) -> Layer:
    """Two layers: the values over the event as it was, then the columns they become."""
    warnings = list(layer.warnings)
    values, items = [], []
    for number, (text, expression) in enumerate(step.assignments.items()):
        problem = target_problem(text)
        if problem:
            raise ValueError(problem)
        compiled = compile_expression(expression, layer.columns)
        if compiled.warning:
            warnings.append(compiled.warning)
        name = quoted(f"_set:{number}")
        values.append((resolve_names(parse_path(text), layer.columns), name, compiled.type))
        items.append(f"{layer.guarded(compiled.sql)} AS {name}")
    below = layer.select([*layer.carried(), *([DROP] if layer.drops else []), *items])
    assigned = assign(layer.columns, values)
    kept = [f"{sql} AS {column(path)}" if sql != column(path) else sql for path, (sql, _) in assigned.items()]
    above = below.select(
        [*kept, *([DROP] if layer.drops else [])], columns={path: kind for path, (_, kind) in assigned.items()}
    )
    return msgspec.structs.replace(above, warnings=tuple(warnings))


def assign(columns: Columns, values: list[tuple[Path, str, str]]) -> dict[Path, tuple[str, str]]:
    """(SQL, type) of each column once each of `values` (path, SQL name, DuckDB type) is at its path.

    A value takes the place of what was at and below its path, in `_extra` too.
    """
    assigned = {path: (column(path), kind) for path, kind in columns.items()}
    for path, name, kind in values:
        _assign(assigned, path, name, kind)
    events = [path for path, _, _ in values if len(path) > 1]
    if events and assigned.get(EXTRA, ("", NO_EXTRA))[1] != NO_EXTRA:
        assigned[EXTRA] = (without(events), assigned[EXTRA][1])
    return assigned


def _assign(assigned: dict[Path, tuple[str, str]], path: Path, name: str, kind: str) -> None:
    """Puts the value `name` of DuckDB type `kind` at `path`, in the place of what was at and below it."""
    if path == SOURCE:
        text = as_text(Value(name, kind, frozenset({(name, kind)})))
        assigned[path] = (f"coalesce(nullif({text.sql}, ''), {column(path)})", assigned[path][1])
        return
    if path == TIMESTAMP:
        instant = as_instant(Value(name, kind, frozenset({(name, kind)})))
        assigned[path] = (
            f"coalesce(TRY_CAST({instant.sql} AS {TIMESTAMP_TYPE}), {column(path)})",
            TIMESTAMP_TYPE,
        )
        return
    parent = next((path[:length] for length in range(1, len(path)) if path[:length] in assigned), None)
    if parent is not None and assigned[parent][1] == "JSON":
        assigned[parent] = (_inside(assigned[parent][0], path[len(parent) :], name), "JSON")
        return
    had = assigned.get(path)
    for known in [known for known in assigned if known[: len(path)] == path or known == parent]:
        del assigned[known]
    if kind == NULL.type:
        if had is not None:
            assigned[path] = (f"CAST(NULL AS {had[1]})", had[1])
        return
    for below, sql, held in leaves(name, kind):
        assigned[(*path, *below)] = (sql, held)


def _inside(parent: str, path: Path, name: str) -> str:
    """SQL of the JSON object `parent` with the value at `path`; what is no object gives way to one."""
    value = f"to_json({name})"
    for part in reversed(path):
        value = f"json_object({literal(part)}, {value})"
    return f"json_merge_patch(CASE WHEN json_type({parent}) = 'OBJECT' THEN {parent} ELSE '{{}}'::JSON END, {value})"
