"""`filter`: keeps the events for which an expression is true."""

from __future__ import annotations

import msgspec

from flows.expression import compile_expression
from flows.steps.layer import DROP, Layer


class Filter(msgspec.Struct, frozen=True):
    """Keeps an event where `expression` is true; false and NULL drop it, counted as intended.

    A path that no event has carried is NULL, so a bare comparison drops events without the field; say
    `IS DISTINCT FROM` to keep them:

        steps:
          - filter: event.status IS DISTINCT FROM 'healthcheck'
    """

    expression: str


def compile_filter(step: Filter, index: int, layer: Layer) -> Layer:
    """Marks the rows that are not kept with `index`, the place of the step in its pipeline."""
    condition = compile_expression(step.expression, layer.columns, condition=True)
    kept = f"CASE WHEN {condition.sql} THEN NULL ELSE CAST({index} AS SMALLINT) END"
    mark = f"CASE WHEN {DROP} IS NULL THEN {kept} ELSE {DROP} END" if layer.drops else kept
    warnings = (*layer.warnings, *([condition.warning] if condition.warning else []))
    above = layer.select([*layer.carried(), f"{mark} AS {DROP}"])
    return msgspec.structs.replace(above, drops=True, warnings=warnings)
