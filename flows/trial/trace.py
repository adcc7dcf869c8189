"""What each step of a pipeline does to each event, found by running every beginning of it and comparing.

What a masking step hides is shown nowhere, at no stage: an event as it is before step k is shown with the masks that
are still to come already applied; and what they change is taken out of every other value that repeats it (a copy under
another name, the line that a field was parsed from).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

import flows.stages
from connectors.batch import StreamLines
from connectors.sinks import dead_letters
from connectors.sinks.conform import json_paths, mark_json
from flows.bounds import bounded_trial
from flows.columns import Columns, quoted
from flows.compile import UNMATCHED, Plan, compile_pipeline
from flows.config import Stream
from flows.expression import compile_expression
from flows.output import rows_query
from flows.processor import open_pipeline_engine
from flows.routes import Route
from flows.shape import Shape, learn, relation
from flows.stages import Stages, Staging
from flows.steps import Parse, Step, has_memory
from flows.structures import Structures
from flows.trial.conceal import conceal, originals
from flows.trial.flat import flat
from flows.trial.lines import no_event
from flows.trial.remembering import UNMATCHED as NO_ROUTE
from flows.trial.remembering import Remembering
from flows.trial.steps import name_of, rule_of

_SHOWN = 200  # characters of a step

Fields = dict[str, Any]


class Change(msgspec.Struct, frozen=True):
    """A path whose value a step changed; None is absent."""

    path: str
    before: Any
    after: Any


class StepTrace(msgspec.Struct, frozen=True):
    """What a step did to an event: `kept` as it was, `changed`, `dropped` by `rule`, or set aside as a `dead_letter`.

    `rule` is what the configuration says; `failed` tells that a text could not be read, `missed` that a lookup had nothing.
    """

    step: int
    name: str
    result: str
    changes: tuple[Change, ...] = ()
    rule: str | None = None
    failed: bool = False
    missed: bool = False


class EventTrace(msgspec.Struct, frozen=True):
    """One event's way. `to` are its destinations, `unmatched` whether it is the default; `error`: it is no event.

    `input` and `output` are its fields by dotted path, before the first step and after the last.
    """

    event_id: str
    number: int
    steps: tuple[StepTrace, ...] = ()
    dropped_by: int | None = None
    to: tuple[str, ...] = ()
    unmatched: bool = False
    input: Fields = {}
    output: Fields = {}
    selected: bool = True
    error: str | None = None


class _Seen(msgspec.Struct, frozen=True):
    """Of each event: its fields before step k, as they are and as they may be shown, its fate, whether it is selected."""

    own: list[list[Fields]]
    shown: list[list[Fields]]
    fates: list[Fields]
    selected: list[bool]


class Tracer:
    """Traces the events of one stream. Belongs to one thread; `close` it."""

    def __init__(self, name: str, stream: Stream, default: str | None) -> None:
        """`default` is the destination of events that no route takes."""
        self._name = name
        self._stream = stream
        self._default = default
        self._memory = any(has_memory(step) for step in stream.steps)
        self._engine = open_pipeline_engine()
        self._listed = Structures(self._engine)
        self._shape = Shape()
        self._doing = ""

    def close(self) -> None:
        """Closes the engine."""
        self._engine.close()

    def trace(self, lines: StreamLines, *, where: str | None = None, raw: bool = False) -> list[EventTrace]:
        """Every event's trace, in order. `where` (a condition) says which are `selected`, by what is shown of them.

        With `raw` it is asked of the events as they came, otherwise as they leave the last step.
        """
        ids, errors = _ids(lines), [no_event(text) for text in lines.table.column("line").to_pylist()]
        good = [place for place, error in enumerate(errors) if error is None]
        found = [EventTrace(event_id, place, error=errors[place]) for place, event_id in enumerate(ids)]
        if good:
            events = lines.at(good)
            with bounded_trial(lambda: self._doing):
                if self._memory:
                    seen = self._remembered(events, [ids[place] for place in good], where, raw)
                else:
                    seen = self._queried(events, where, raw)
            traced = self._traced(seen, where, raw)
            for place, event in zip(good, traced, strict=True):
                found[place] = msgspec.structs.replace(event, event_id=ids[place], number=place)
        return found

    def hidden(self, lines: StreamLines) -> dict[str, tuple[str, ...]]:
        """By id, the texts that masks hide of each event, for `conceal`. The stream has no memory."""
        ids, texts = _ids(lines), lines.table.column("line").to_pylist()
        good = [place for place, text in enumerate(texts) if no_event(text) is None]
        if not good:
            return {}
        with bounded_trial(lambda: self._doing):
            seen = self._queried(lines.at(good), None, raw=False)
        stages = [list(zip(own, shown, strict=True)) for own, shown in zip(seen.own, seen.shown, strict=True)]
        return {ids[place]: originals(stage[row] for stage in stages) for row, place in enumerate(good)}

    def _queried(self, events: StreamLines, where: str | None, raw: bool) -> _Seen:
        """What every beginning of the pipeline makes of the events, each a query over all of them."""
        self._shape = learn(self._shape, events.table.column("line"), events.ndjson, self._listed, self._stream.types)
        self._engine.register("batch", events.table)
        try:
            steps = self._stream.steps
            sql, columns = relation(self._shape, self._name, "batch")
            own = [self._fields(steps[:k], sql, columns) for k in self._beginnings()]
            shown = [
                self._fields((*steps[:k], *masks), sql, columns) if (masks := _masks(steps[k:])) else own[k]
                for k in self._beginnings()
            ]
            asked = () if raw else steps
            selected = self._selected((*asked, *_masks(steps[len(asked) :])), where, sql, columns)
            return _Seen(own, shown, self._fates(sql, columns), selected)
        finally:
            self._engine.unregister("batch")

    def _remembered(self, events: StreamLines, ids: list[str], where: str | None, raw: bool) -> _Seen:
        """The same of a pipeline with a memory: what comes out at all is found by its id."""
        steps = self._stream.steps
        trial = Remembering(self._name, self._stream, events, self._engine)
        own = [trial.fields(steps[:k]) for k in self._beginnings()]
        shown = [
            trial.fields((*steps[:k], *masks)) if (masks := _masks(steps[k:])) else own[k] for k in self._beginnings()
        ]
        asked = () if raw else steps
        chosen = trial.kept((*asked, *_masks(steps[len(asked) :])), where)
        going = trial.destinations()
        unmatched = going.pop(NO_ROUTE, frozenset())
        fates: list[Fields] = []
        for event in ids:
            gone = next((k for k in range(len(steps)) if event not in own[k + 1]), None)
            to = tuple(name for name, taken in going.items() if event in taken)
            if event in unmatched and self._default is not None:
                to = (*to, self._default)
            fates.append({"_drop": gone, "to": to, UNMATCHED: event in unmatched})
        return _Seen(
            [[fields.get(event, {}) for event in ids] for fields in own],
            [[fields.get(event, {}) for event in ids] for fields in shown],
            fates,
            [event in chosen for event in ids],
        )

    def _beginnings(self) -> Iterator[int]:
        """The number of steps in each beginning of the pipeline, while it is run; at last the routes are at work."""
        steps = self._stream.steps
        at = f"streams.{self._name}"
        self._doing = f"the reading of {at}"
        yield 0
        for k, step in enumerate(steps):
            self._doing = f"{at}.steps[{k}].{name_of(step)} ({rule_of(step)[:_SHOWN]})"
            yield k + 1
        self._doing = f"{at}.routes"

    def _traced(self, seen: _Seen, where: str | None, raw: bool) -> list[EventTrace]:
        steps = self._stream.steps
        traced = []
        for row, fate in enumerate(seen.fates):
            dropped = fate.get("_drop")
            alive = len(steps) if dropped is None else int(dropped)
            own = [seen.own[k][row] for k in range(alive + 1)]
            shown = [seen.shown[k][row] for k in range(alive + 1)]
            hidden = originals(zip(own, shown, strict=True))
            safe = [{path: conceal(value, hidden) for path, value in fields.items()} for fields in shown]
            to = tuple(n for n in fate["to"] if fate.get(f"_to:{n}", True))
            if dropped is not None:
                to = (dead_letters.NAME,) if _set_aside(steps[dropped]) else ()
            traced.append(
                EventTrace(
                    "",
                    row,
                    tuple(self._step(k, own, safe, fate) for k in range(alive)) + self._drop(dropped),
                    dropped,
                    to,
                    dropped is None and (bool(fate.get(UNMATCHED)) or not self._stream.routes),
                    safe[0],
                    safe[-1] if dropped is None else {},
                    seen.selected[row] if raw or dropped is None else not where,
                )
            )
        return traced

    def _step(self, index: int, own: list[Fields], safe: list[Fields], fate: Fields) -> StepTrace:
        step = self._stream.steps[index]
        before, after = own[index], own[index + 1]
        paths = [p for p in dict.fromkeys((*before, *after)) if before.get(p) != after.get(p)]
        changes = tuple(Change(path, safe[index].get(path), safe[index + 1].get(path)) for path in paths)
        failed, missed = (bool(fate.get(f"_{what}_{index}")) for what in ("failed", "missed"))
        result = "changed" if changes else "kept"
        return StepTrace(index, name_of(step), result, changes, failed=failed, missed=missed)

    def _drop(self, index: int | None) -> tuple[StepTrace, ...]:
        if index is None:
            return ()
        step = self._stream.steps[index]
        result = "dead_letter" if _set_aside(step) else "dropped"
        return (StepTrace(index, name_of(step), result, rule=rule_of(step), failed=isinstance(step, Parse)),)

    def _fields(self, steps: tuple[Step, ...], sql: str, columns: Columns) -> list[Fields]:
        """Every event's fields by dotted path, after these steps."""
        plan, staging, stages = self._compiled(steps, (), sql, columns)
        query, json = rows_query(plan.columns, plan.sql(staging.source), plan.fate_columns)
        rows = mark_json(self._engine.sql(query).to_arrow_table(), json)
        stages.clear()
        return [flat(row, json_paths(rows.schema)) for row in rows.to_pylist()]

    def _fates(self, sql: str, columns: Columns) -> list[Fields]:
        plan, staging, stages = self._compiled(self._stream.steps, self._stream.routes, sql, columns)
        wanted = ", ".join(quoted(name) for name in plan.fate_columns) or "1"
        rows = self._engine.sql(f"SELECT {wanted} FROM ({plan.sql(staging.source)})").to_arrow_table().to_pylist()
        stages.clear()
        return [{**row, "to": plan.destinations} for row in rows]

    def _selected(self, steps: tuple[Step, ...], where: str | None, sql: str, columns: Columns) -> list[bool]:
        plan, staging, stages = self._compiled(steps, (), sql, columns)
        condition = compile_expression(where, plan.columns, condition=True).sql if where else "true"
        query = f"SELECT coalesce({condition}, false) FROM ({plan.sql(staging.source)})"
        rows = self._engine.sql(query).fetchall()
        stages.clear()
        return [bool(row[0]) for row in rows]

    def _compiled(
        self, steps: tuple[Step, ...], routes: tuple[Route, ...], sql: str, columns: Columns
    ) -> tuple[Plan, Staging, Stages]:
        """The query of these steps over the batch, what it begins with, and the stages to clear once it has run."""
        stream = msgspec.structs.replace(self._stream, steps=steps)
        stages = Stages(self._name, stream, self._engine)
        staging = stages.run(sql, columns)
        plan = compile_pipeline(
            steps,
            routes,
            staging.columns,
            default=self._default,
            begun=staging.begun,
            types=stream.types,
            mask_key=stream.mask_key,
            lookups=staging.lookups,
        )
        return plan, staging, stages


def _ids(lines: StreamLines) -> list[str]:
    columns = (lines.table.column(name).to_pylist() for name in ("request_id", "index"))
    return [f"{request}-{index}" for request, index in zip(*columns, strict=True)]


def _set_aside(step: Step) -> bool:
    """Whether what the step takes out goes to the dead letters."""
    return isinstance(step, Parse) and step.on_error == "dead_letter"


def _masks(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    return tuple(step for step in steps if isinstance(step, flows.stages.PROTECTING))
