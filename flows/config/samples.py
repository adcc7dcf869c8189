"""Warnings about paths that no event of a sample has: a misspelt path is NULL and no error, so nothing else tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.columns import Path, dotted
from flows.config.foresight import covers, rollup_expressions, step_expressions
from flows.config.paths import field_path
from flows.config.report import Report, did_you_mean
from flows.config.settings import Stream
from flows.expression.names import fields_read
from flows.steps import Drop, Enrich, Parse, Set, Step, Window
from flows.steps.parse.settings import target

Samples = Mapping[str, frozenset[Path]]
"""By stream: the paths that its sample's events have, down to what is no object."""


def check_samples(grammar: Any, samples: Samples, report: Report) -> None:
    """Tells `report` of every path of a pipeline that neither the sample nor an earlier step has."""
    for name, paths in samples.items():
        if name in grammar.streams:
            _check(f"streams.{name}", grammar.streams[name], paths, report)


def _check(at: str, stream: Stream, sample: frozenset[Path], report: Report) -> None:
    made: set[Path] = set()  # by earlier steps: what is below is theirs to know
    for index, step in enumerate(stream.steps):
        for place, text in step_expressions(step):
            for path in fields_read(text):
                _expect(path, sample, made, f"{at}.steps[{index}].{place}", report)
        if isinstance(step, Drop):
            for number, text in enumerate(step.paths):
                _expect(field_path(text), sample, made, f"{at}.steps[{index}].drop[{number}]", report)
        elif isinstance(step, Parse):
            _expect(field_path(step.field), sample, made, f"{at}.steps[{index}].parse.field", report)
        made.update(_made(step))
    for index, rollup in enumerate(stream.rollups):
        for place, text in rollup_expressions(rollup):
            for path in fields_read(text):
                _expect(path, sample, made, f"{at}.rollups[{index}].{place}", report)
    for index, route in enumerate(stream.routes):
        for path in fields_read(route.when or ""):
            _expect(path, sample, made, f"{at}.routes[{index}].when", report)


def _made(step: Step) -> list[Path]:
    """The paths that a step gives values to."""
    if isinstance(step, Parse):
        return [target(step)]
    if isinstance(step, Set):
        return [field_path(text) for text in step.assignments]
    if isinstance(step, Enrich):
        return [field_path(step.into)]
    return [("event", step.name)] if isinstance(step, Window) else []


def _expect(path: Path, sample: frozenset[Path], made: set[Path], at: str, report: Report) -> None:
    if path[0] not in ("event", "metadata") or len(path) == 1:
        return  # what every event has
    if any(covers(path, one) for one in sample) or any(covers(path, one) or covers(one, path) for one in made):
        return
    near = did_you_mean(dotted(path), [dotted(one) for one in {*sample, *made} if len(one) > 1])
    suggestion = near if near and near.startswith("did you mean") else "it is NULL, unless other events have it"
    report.add(at, f"no event of the sample has {dotted(path)!r}", suggestion, severity="warning")
