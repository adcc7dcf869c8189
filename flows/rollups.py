"""Rollups: aggregates of a stream's events by the minute, the hour, …, as rows of a table of their own."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

import msgspec

from connectors.values import Between, Duration
from flows.columns import Path
from flows.expression.paths import as_path
from flows.expression.syntax import InvalidExpression, parse
from flows.kinds import Aggregate, Expression, Identifier

Every = Annotated[timedelta, Between(timedelta(milliseconds=1), timedelta(days=366))]

ROW_COLUMNS = ("event_id", "window_start", "window_end", "date")
"""The columns of every rollup's rows, beside those of its `by` and its aggregates."""


class Rollup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Aggregates the stream's events, as they leave the last step, over windows of `every`, by the values of `by`.

    Windows are aligned to 1970-01-01T00:00:00Z. One closes when the watermark, `lateness` behind the newest event time,
    has reached its end, or when the stream has been silent for `idle` and the window is over by the clock too; its rows
    `{event_id, window_start, window_end, <by>, <aggregates>, date}` then go to the destinations `to`, in a table
    `<stream>_<name>`. An event of a closed window is late: it becomes a dead letter, counted, and goes its own way too.
    `by` is a list of expressions, whose columns are named as their last part, or a mapping of names to expressions.
    Aggregates may read `_sample_rate`: `sum(1/_sample_rate)` estimates how many events there were before a `sample`.

        rollups:
          - {name: per_minute, every: 1m, by: [source, event.status],
             aggregate: {events: count(*), p95: quantile_cont(event.latency_ms, 0.95)}, to: [lake]}
    """

    name: Identifier
    every: Every
    aggregate: dict[Identifier, Aggregate]
    by: tuple[Expression, ...] | dict[Identifier, Expression] = ()
    to: tuple[str, ...] = ("lake",)
    lateness: Duration = timedelta(seconds=10)
    idle: Duration = timedelta(seconds=10)


def table_of(stream: str, rollup: Rollup) -> str:
    """The name that the rows go under, where an event's stream has its own."""
    return f"{stream}_{rollup.name}"


def by_columns(rollup: Rollup) -> dict[str, str]:
    """Column name to expression of what a rollup's rows are by. ValueError where a list's item gives no name.

    A path's column has the name of its last part; where two would be called the same, all of their parts.
    """
    if isinstance(rollup.by, dict):
        return dict(rollup.by)
    paths = [_path(text) for text in rollup.by]
    last = [_plain(path[-1:]) for path in paths]
    taken = {*ROW_COLUMNS, *(name.lower() for name in rollup.aggregate)}
    folded = [name.lower() for name in last]
    names = [
        name if folded.count(name.lower()) == 1 and name.lower() not in taken else _plain(path)
        for name, path in zip(last, paths, strict=True)
    ]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two columns would be called {name!r}; name them: `by: {{name: expression}}`")
    return dict(zip(names, rollup.by, strict=True))


def _path(text: str) -> Path:
    try:
        path = as_path(parse(text))
    except InvalidExpression:
        path = None
    if path is None:
        raise ValueError(f"{text[:60]!r} gives its column no name; name it: `by: {{name: expression}}`")
    return path


def _plain(path: Path) -> str:
    name = re.sub(r"\W", "_", "_".join(path), flags=re.ASCII)
    return f"_{name}" if name[:1].isdigit() else name
