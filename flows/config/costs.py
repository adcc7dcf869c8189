"""Expressions that are too much work whatever the event: DuckDB computes what is constant in them when it plans a query.

`replace(repeat('x', 9999), 'x', repeat('y', 9999))` is a hundred megabytes of every event, and its like may take for ever,
in every command that compiles a pipeline. SQL over one row cannot be interrupted, so they are tried in a process that can be
ended: with every path NULL, which leaves what is constant. Most expressions call nothing that could need it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from flows.config.foresight import rollup_expressions, step_expressions
from flows.config.report import Report

_MOST = 8  # are reported at once: each of them takes its time


class Tried(NamedTuple):
    """An expression of the configuration at its dotted `path`."""

    path: str
    text: str


def check_costs(grammar: Any, report: Report) -> None:
    """Tells `report` which expressions of a valid `Grammar` take too much."""
    left = [one for one in _expressions(grammar) if _may_be_large(one.text)]
    for _ in range(_MOST):
        if not left:
            return
        done, reason = _try([one.text for one in left])
        if reason is None:
            return
        report.add(
            left[done].path, f"{reason} for an event without any field", "look at what repeats, replaces or nests"
        )
        left = left[done + 1 :]


def _expressions(grammar: Any) -> Iterator[Tried]:
    for name, stream in grammar.streams.items():
        for index, step in enumerate(stream.steps):
            for below, text in step_expressions(step):
                yield Tried(f"streams.{name}.steps[{index}].{below}", text)
        for index, rollup in enumerate(stream.rollups):
            for below, text in rollup_expressions(rollup):
                yield Tried(f"streams.{name}.rollups[{index}].{below}", text)
        for index, route in enumerate(stream.routes):
            if route.when is not None:
                yield Tried(f"streams.{name}.routes[{index}].when", route.when)


def _may_be_large(text: str) -> bool:
    """Whether the expression, or a part of an aggregate, calls what makes much of little."""
    from flows.expression.aggregate import calls_taken_out  # here: it needs DuckDB, and few commands do
    from flows.expression.costs import costly
    from flows.expression.syntax import parse

    return any(costly(node) is not None for node in calls_taken_out(parse(text), text))


def _try(texts: list[str]) -> tuple[int, str | None]:
    """How many of the expressions are well, and what is too much of the next one."""
    from flows.expression.over_nothing import TOO_MUCH

    command = [sys.executable, "-m", "flows.expression.over_nothing"]
    tried = subprocess.run(command, input=msgspec.json.encode(texts), capture_output=True, check=False)
    done = tried.stdout.count(b"\n")
    if done == len(texts):
        return done, None
    if tried.returncode == TOO_MUCH:
        return done, tried.stderr.decode().strip()
    return done, "ends the process that tries it"
