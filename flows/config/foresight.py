"""Warnings about what will never happen: conditions that are never true, values that nobody reads, unused places.

Nothing here keeps a configuration from being used; it is asked only of one without errors.
"""

from __future__ import annotations

from typing import Any

from connectors.sinks.settings import DEAD_LETTERS
from flows.columns import Path
from flows.config.paths import field_path
from flows.config.report import Report, did_you_mean
from flows.config.rules import routed_to
from flows.config.settings import DEFAULT_DESTINATION, Stream, StreamTest
from flows.expression.names import fields_read, never_true
from flows.rollups import Rollup
from flows.steps import Drop, Enrich, Filter, Sample, Set, Step, Window


def check_foresight(grammar: Any, report: Report) -> None:
    """Tells `report` of what a valid `Grammar` says in vain."""
    used: set[str] = set()
    known = [*(grammar.destinations or [DEFAULT_DESTINATION]), DEAD_LETTERS]
    for name, stream in grammar.streams.items():
        path = f"streams.{name}"
        used.update(routed_to(stream), *(rollup.to for rollup in stream.rollups))
        _check_filters(path, stream, report)
        _check_sets(path, stream, report)
        for index, route in enumerate(stream.routes):
            if route.when is not None and never_true(route.when):
                _warn(report, f"{path}.routes[{index}].when", "never true: no event takes this route", "remove it")
        rolled = [f"{name}/{rollup.name}" for rollup in stream.rollups for name in rollup.to]
        for index, test in enumerate(stream.tests):
            _check_test(f"{path}.tests[{index}]", test, [*known, *rolled], report)
    for name in grammar.destinations:
        if name not in used:
            _warn(
                report, f"destinations.{name}", "no route of any stream leads here", "name it in a route, or remove it"
            )


def step_expressions(step: Step) -> list[tuple[str, str]]:
    """(path below the step, SQL) of each expression of a step."""
    if isinstance(step, Filter):
        return [("filter", step.expression)]
    if isinstance(step, Set):
        return [(f"set.{path}", text) for path, text in step.assignments.items()]
    if isinstance(step, Sample):
        found = {"sample.key": step.key, "sample.keep": step.keep}
        found |= {"sample.per.key": step.per.key} if step.per else {}
        found |= {"sample.dynamic.key": step.dynamic.key} if step.dynamic else {}
        return [(path, text) for path, text in found.items() if text is not None]
    if isinstance(step, Enrich):
        return [("enrich.on", step.on)]
    if isinstance(step, Window):
        aggregates = [(f"window.aggregate.{name}", text) for name, text in step.aggregate.items()]
        return [("window.key", step.key), *aggregates]
    return []


def rollup_expressions(rollup: Rollup) -> list[tuple[str, str]]:
    """(path below the rollup, SQL) of each expression of a rollup."""
    by = (
        [(f"by.{name}", text) for name, text in rollup.by.items()]
        if isinstance(rollup.by, dict)
        else [(f"by[{index}]", text) for index, text in enumerate(rollup.by)]
    )
    return [*by, *((f"aggregate.{name}", text) for name, text in rollup.aggregate.items())]


def covers(outer: Path, inner: Path) -> bool:
    """Whether `inner` is at or below `outer`, whatever the case of their letters."""
    return tuple(part.lower() for part in inner[: len(outer)]) == tuple(part.lower() for part in outer)


def _check_filters(path: str, stream: Stream, report: Report) -> None:
    for index, step in enumerate(stream.steps):
        if isinstance(step, Filter) and never_true(step.expression):
            what = "never true: every event is dropped here"
            if index + 1 < len(stream.steps):
                what += ", and the steps after it do nothing"
            _warn(report, f"{path}.steps[{index}].filter", what, "a filter keeps the events for which it is true")
            return


def _check_sets(path: str, stream: Stream, report: Report) -> None:
    for index, step in enumerate(stream.steps):
        if not isinstance(step, Set):
            continue
        for text in step.assignments:
            target = field_path(text)
            for later, following in enumerate(stream.steps[index + 1 :], index + 1):
                if not isinstance(following, Set | Drop | Filter) or _reads(following, target):
                    break
                if _replaces(following, target):
                    what = f"set in vain: steps[{later}] replaces or drops it before anything reads it"
                    _warn(report, f"{path}.steps[{index}].set.{text}", what, "remove one of the two")
                    break


def _reads(step: Step, target: Path) -> bool:
    read = [path for _, text in step_expressions(step) for path in fields_read(text)]
    return any(covers(path, target) or covers(target, path) for path in read)


def _replaces(step: Step, target: Path) -> bool:
    if len(target) == 1:
        return False  # NULL leaves `source` and `timestamp` as they were
    written = step.paths if isinstance(step, Drop) else step.assignments if isinstance(step, Set) else ()
    return any(covers(field_path(text), target) for text in written)


def _check_test(path: str, test: StreamTest, known: list[str], report: Report) -> None:
    for index, event in enumerate(test.input):
        missing = [name for name in ("source", "event") if name not in event]
        if missing:
            what = f"the gateway takes no event without {missing[0]!r}"
            _warn(report, f"{path}.input[{index}]", what, f"give it one: {missing[0]}: …")
    for name in test.expect:
        if name not in known:
            _warn(report, f"{path}.expect.{name}", f"unknown destination {name[:60]!r}", did_you_mean(name, known))


def _warn(report: Report, path: str, message: str, suggestion: str | None) -> None:
    report.add(path, message, suggestion, severity="warning")
