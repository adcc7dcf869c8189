"""What must hold of windows and rollups: names that do not meet, destinations that are there, aggregates at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import UNSET

from connectors.values import as_written
from flows.config.report import Report, did_you_mean
from flows.rollups import ROW_COLUMNS, by_columns, table_of
from flows.steps import Window


def check_windows(path: str, steps: list[Any], report: Report) -> None:
    """Tells what is wrong with the `window` steps among a stream's `steps`; what could not be read is UNSET."""
    seen: dict[str, int] = {}
    for index, step in enumerate(steps):
        if not isinstance(step, Window):
            continue
        at = f"{path}.steps[{index}].window"
        _check_aggregates(at, step.aggregate, report)
        name: Any = step.name
        if name is not UNSET and (earlier := seen.setdefault(name.lower(), index)) != index:
            what = f"steps[{earlier}] is a window called {name!r} too, whose fields this one would replace"
            report.add(f"{at}.name", what, "give each its own name")


def check_rollups(
    stream: str, rollups: list[Any], destinations: list[str] | None, streams: Iterable[str], report: Report
) -> None:
    """Tells what is wrong with a stream's rollups. `destinations` are the names known, None where they are not."""
    seen: dict[str, int] = {}
    for index, rollup in enumerate(rollups):
        if rollup is UNSET:
            continue
        at = f"streams.{stream}.rollups[{index}]"
        _check_aggregates(at, rollup.aggregate, report)
        _check_columns(at, rollup, report)
        _check_to(at, rollup, destinations, report)
        if rollup.name is UNSET:
            continue
        if (earlier := seen.setdefault(rollup.name.lower(), index)) != index:
            what = f"rollups[{earlier}] is called {rollup.name!r} too"
            report.add(f"{at}.name", what, "give each its own name")
        table = table_of(stream, rollup)
        other = next((name for name in streams if name.lower() == table.lower()), None)
        if other is not None:
            what = f"its rows go under the name {table!r}, which is that of stream {other!r}"
            report.add(f"{at}.name", what, "give the rollup another name")


def tables_of(stream: str, rollups: list[Any]) -> dict[str, list[str]]:
    """By the name that its rows go under, the destinations of each rollup."""
    read = [rollup for rollup in rollups if rollup is not UNSET and UNSET not in (rollup.name, rollup.to)]
    return {table_of(stream, one): list(dict.fromkeys(name for name in one.to if name is not UNSET)) for one in read}


def _check_aggregates(at: str, aggregates: Any, report: Report) -> None:
    if aggregates == {}:
        report.add(f"{at}.aggregate", "has no aggregate", "name one: `aggregate: {events: count(*)}`")
    seen: dict[str, str] = {}
    for name in {} if aggregates is UNSET else aggregates:
        if (other := seen.setdefault(name.lower(), name)) != name:
            what = f"{name!r} and {other!r} differ only in case"
            report.add(f"{at}.aggregate.{name}", what, "columns are the same whatever their case: choose another name")


def _check_columns(at: str, rollup: Any, report: Report) -> None:
    if UNSET in (rollup.by, rollup.aggregate):
        return
    for name in rollup.aggregate:
        if name.lower() in ROW_COLUMNS:
            report.add(f"{at}.aggregate.{name}", f"every rollup has a column {name!r} already", "choose another name")
    expressions = list(rollup.by.values()) if isinstance(rollup.by, dict) else list(rollup.by)
    if any(text is UNSET for text in (*expressions, *rollup.aggregate.values())) or report.problems():
        return
    try:
        names = by_columns(rollup)
    except ValueError as exc:
        what, _, remedy = str(exc).partition("; ")
        report.add(f"{at}.by", what, remedy or None)
        return
    taken = {*ROW_COLUMNS, *(name.lower() for name in rollup.aggregate)}
    for name in names:
        if name.lower() in taken:
            what = f"a column {name!r} is there already"
            report.add(f"{at}.by", what, "choose another name: `by: {name: expression}`")
        taken.add(name.lower())


def _check_to(at: str, rollup: Any, destinations: list[str] | None, report: Report) -> None:
    if rollup.to is UNSET:
        return
    if rollup.to == ():
        report.add(f"{at}.to", "names no destination", "name one")
    for place, name in enumerate(rollup.to):
        if name is not UNSET and destinations is not None and name not in destinations:
            said = as_written(name)
            where = f"{at}.to[{place}]"
            report.add(where, f"unknown destination {said[:60]!r}", did_you_mean(said, destinations))
