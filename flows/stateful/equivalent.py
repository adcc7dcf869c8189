"""What a step with a memory does, as the SQL it equals: for a person to read, over all events at once."""

from __future__ import annotations

from flows.columns import TIMESTAMP, Columns, column, dotted, quoted
from flows.expression import compile_expression
from flows.expression.aggregate import result
from flows.stateful.aggregates import Aggregates
from flows.steps import Step, Window


def equivalent(step: Step, columns: Columns, source: str, *, drops: bool) -> tuple[str, Columns]:
    """(query over the relation `source`, its columns). `drops`: whether the relation marks dropped rows (`_drop`)."""
    kept = f"{source} WHERE _drop IS NULL" if drops else source
    if not isinstance(step, Window):
        return f"SELECT {', '.join(map(column, columns))} FROM {kept}", columns
    aggregates = Aggregates(step.aggregate)
    slots = aggregates.slots(columns)
    key = compile_expression(step.key, columns)
    calls = aggregates.computed([slot.type for slot in slots], column(TIMESTAMP))
    added = {("event", step.name, found.name): found for found in aggregates.results([kind for _, kind in calls])}
    carried = [path for path in columns if path[:2] != ("event", step.name) and path != ("_late",)]
    inputs = [f"{slot.sql} AS {quoted(name)}" for name, slot in zip(aggregates.names, slots, strict=True)]
    below = ", ".join([*map(column, carried), f'{key.sql} AS "_key"', *inputs])
    over = [f"{sql} OVER {step.name} AS {quoted(result(n))}" for n, (sql, _) in enumerate(calls)]
    window = (
        f'WINDOW {step.name} AS (PARTITION BY "_key" ORDER BY {column(TIMESTAMP)}'
        f" RANGE BETWEEN INTERVAL '{step.length.total_seconds():g} seconds' PRECEDING AND CURRENT ROW)"
    )
    above = [f"{found.sql} AS {quoted(dotted(path))}" for path, found in added.items()]
    sql = (
        f"SELECT {', '.join([*map(column, carried), *above])}, false AS {column(('_late',))}"
        f" FROM (SELECT *, {', '.join(over)} FROM (SELECT {below} FROM {kept}) {window})"
    )
    types: Columns = {path: columns[path] for path in carried} | {path: found.type for path, found in added.items()}
    return sql, {**types, ("_late",): "BOOLEAN"}
