"""A pipeline becomes one query: each step one layer over the columns below it, the routes the last.

DuckDB merges the layers into one pass over a batch. No row is taken away: a dropped row keeps its place and is marked,
so drops can be counted by the step that made them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from flows.columns import Columns, column, quoted
from flows.expression import compile_expression
from flows.postponing import goes_first
from flows.routes import Route
from flows.shape import Shape
from flows.steps import Drop, Enrich, Filter, Mask, Parse, Sample, Set, Step, Window
from flows.steps.drop import compile_drop
from flows.steps.enrich import Found, compile_enrich
from flows.steps.filter import compile_filter
from flows.steps.layer import DROP, MARKS, Layer
from flows.steps.mask.compiling import compile_mask
from flows.steps.parse.compiling import place_parts, read_text
from flows.steps.sample import compile_sample
from flows.steps.set import compile_set

UNMATCHED = "_unmatched"
"""The BOOLEAN column that tells that no route took the row and it went to the default."""


class Plan(msgspec.Struct, frozen=True):
    """A compiled pipeline.

    `columns` are what the query gives of the event. Beside them are the `fate_columns`: `_drop` (SMALLINT, which step
    dropped the row; NULL: kept) when `drops`, and unless the `destinations` are the same for every row, `_to:<name>`
    (BOOLEAN) for each of them and `_unmatched`; all false or NULL in a dropped row. `warnings` say which expressions
    are NULL for every event with these columns, and why. `failures` are BOOLEAN columns that tell which rows a `parse`
    could not read (`_failed_<index>`) and for which an `enrich` found nothing (`_missed_<index>`).
    """

    before: str
    after: str
    columns: Columns
    drops: bool
    routed: bool
    destinations: tuple[str, ...]
    warnings: tuple[str, ...]
    failures: tuple[str, ...] = ()

    def sql(self, source: str) -> str:
        """The query over `source`: the name of a relation, or a query in parentheses. Rows keep their order."""
        return f"{self.before}{source}{self.after}"

    @property
    def fate_columns(self) -> tuple[str, ...]:
        """The columns beside those of the event."""
        routes = (*(f"_to:{name}" for name in self.destinations), UNMATCHED) if self.routed else ()
        return (*(["_drop"] if self.drops else []), *routes, *self.failures)


class Begun(msgspec.Struct, frozen=True):
    """What was done before: all up to the first half of the `parse` at `step`, whose documents have `shape`."""

    step: int
    shape: Shape = Shape()
    drops: bool = False


def compile_stage(
    steps: Sequence[Step],
    stop: int,
    columns: Columns,
    *,
    start: int = 0,
    begun: Begun | None = None,
    types: Mapping[str, str] | None = None,
    mask_key: str | None = None,
    lookups: Mapping[str, Found] | None = None,
) -> Layer:
    """The query from the step at `start` up to and with the first half of the `parse` at `stop`."""
    layer = _last(
        layers(steps[:stop], columns, start=start, begun=begun, types=types, mask_key=mask_key, lookups=lookups)
    )
    step = steps[stop]
    assert isinstance(step, Parse)
    return read_text(step, stop, layer)


def compile_pipeline(
    steps: Sequence[Step],
    routes: Sequence[Route],
    columns: Columns,
    *,
    default: str | None = "lake",
    start: int = 0,
    begun: Begun | None = None,
    types: Mapping[str, str] | None = None,
    mask_key: str | None = None,
    lookups: Mapping[str, Found] | None = None,
) -> Plan:
    """The query of a pipeline over a relation with a column `column(path)` for each path of `columns`.

    It begins with the step at `start`; of a pipeline that was `begun` it is the rest. `types` and `mask_key` are the
    stream's. An event that no route takes (one with `also` does not take it) goes to the `default` destination. What a
    `mask` calls is on the connection once `flows.steps.mask.install_masks` had the same steps and key, and what `enrich`
    calls, the `lookups` by `Enrich.asks`, once `flows.lookups.Installed` gave them. The same arguments
    give the same plan. Raises InvalidExpression or ValueError for what a check of the configuration refuses.
    """
    layer = _last(layers(steps, columns, start=start, begun=begun, types=types, mask_key=mask_key, lookups=lookups))
    failures = tuple(path[0] for path in layer.columns if path[0].startswith(MARKS))
    live = list(routes)
    for place, route in enumerate(routes):
        if route.when is None and not route.also:
            live = live[: place + 1]
            break
    names = [name for route in live for name in route.to]
    open_ended = not live or live[-1].when is not None or live[-1].also
    if open_ended and default is not None:
        names.append(default)
    destinations = tuple(dict.fromkeys(names))
    constant = all(route.when is None for route in live)
    if not constant:
        layer = _routed(live, destinations, default if open_ended else None, layer)
    return Plan(
        layer.before, layer.after, layer.columns, layer.drops, not constant, destinations, layer.warnings, failures
    )


def layers(
    steps: Sequence[Step],
    columns: Columns,
    *,
    start: int = 0,
    begun: Begun | None = None,
    types: Mapping[str, str] | None = None,
    mask_key: str | None = None,
    lookups: Mapping[str, Found] | None = None,
) -> Iterator[tuple[int | None, Layer]]:
    """The query of steps as it grows: what they begin with, then each step (its index), in the order they are done in.

    A mask may come after steps that stand behind it (`flows.postponing`). The arguments are those of `compile_pipeline`.
    """
    types, lookups = types or {}, lookups or {}
    layer = Layer(dict(columns))
    if begun is None:
        layer = layer.select(layer.carried())
        yield None, layer
    else:
        start = begun.step + 1
        layer = msgspec.structs.replace(layer, drops=begun.drops)
        step = steps[begun.step]
        assert isinstance(step, Parse)
        layer = place_parts(step, begun.step, layer, begun.shape, types)
        yield begun.step, layer
    waiting: list[int] = []  # masks
    for index in range(start, len(steps)):
        step = steps[index]
        if isinstance(step, Mask):
            waiting.append(index)
            continue
        due = [index]
        if waiting and not goes_first(step, [steps[mask] for mask in waiting], layer.columns):
            due, waiting = [*waiting, index], []
        for each in due:
            layer = _compile_step(steps, each, layer, types, mask_key, lookups)
            yield each, layer
    for mask in waiting:
        layer = _compile_step(steps, mask, layer, types, mask_key, lookups)
        yield mask, layer


def _last(grown: Iterator[tuple[int | None, Layer]]) -> Layer:
    return list(grown)[-1][1]


def _compile_step(
    steps: Sequence[Step],
    index: int,
    layer: Layer,
    types: Mapping[str, str],
    mask_key: str | None,
    lookups: Mapping[str, Found],
) -> Layer:
    step = steps[index]
    match step:
        case Parse():
            return place_parts(step, index, read_text(step, index, layer), Shape(), types)
        case Filter():
            return compile_filter(step, index, layer)
        case Set():
            return compile_set(step, layer)
        case Drop():
            return compile_drop(step, layer)
        case Mask():
            return compile_mask(step, layer, mask_key)
        case Sample():
            stage = sum(isinstance(earlier, Sample) for earlier in steps[:index])
            return compile_sample(step, index, stage, layer)
        case Enrich():
            return compile_enrich(step, index, layer, lookups)
        case Window():
            raise ValueError(f"steps[{index}]: a step with a memory is no part of a query; flows.stateful runs it")


def _routed(routes: list[Route], destinations: tuple[str, ...], default: str | None, layer: Layer) -> Layer:
    fate = [DROP] if layer.drops else []
    warnings = list(layer.warnings)
    conditions = []
    for number, route in enumerate(routes):
        condition = "true"
        if route.when is not None:
            compiled = compile_expression(route.when, layer.columns, condition=True)
            condition = compiled.sql
            if compiled.warning:
                warnings.append(compiled.warning)
        conditions.append(f"coalesce({layer.guarded(condition)}, false) AS {quoted(f'_when:{number}')}")
    matched = layer.select([*layer.carried(), *fate, *conditions])
    taking: list[str] = []
    goes: dict[str, list[str]] = {name: [] for name in destinations}
    for number, route in enumerate(routes):
        when = quoted(f"_when:{number}")
        for name in dict.fromkeys(route.to):
            goes[name].append(" AND ".join([when, *(f"NOT {earlier}" for earlier in taking)]))
        if not route.also:
            taking.append(when)
    kept = f"{DROP} IS NULL" if layer.drops else "true"
    unmatched = " AND ".join([kept, *(f"NOT {when}" for when in taking)])
    if default is not None:
        goes[default].append(unmatched)
    items = [f"({' OR '.join(f'({one})' for one in goes[name])}) AS {quoted(f'_to:{name}')}" for name in destinations]
    items.append(f"({unmatched}) AS {quoted(UNMATCHED)}")
    above = matched.select([*(column(path) for path in layer.columns), *fate, *items])
    return msgspec.structs.replace(above, warnings=tuple(warnings))
