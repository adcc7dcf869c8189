"""What is wrong with a configuration: every problem, each with its place and, where there is one, the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from connectors.errors import ConfigError

Severity = Literal["error", "warning"]


class Problem(msgspec.Struct, frozen=True):
    """One problem. `line` and `column` count from 1; `path` is dotted (`streams.payments.steps[2].drop`).

    A problem of severity `error` keeps the configuration from being used; a `warning` does not.
    """

    file: str
    line: int
    column: int
    path: str
    severity: Severity
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        where = f"({self.file}:{self.line}:{self.column})"
        head = f"{self.path}: " if self.path else ""
        kind = "warning: " if self.severity == "warning" else ""
        return f"{kind}{head}{self.message} {where}" + (f"; {self.suggestion}" if self.suggestion else "")


class InvalidConfig(ConfigError):
    """A configuration that cannot be used; `problems` has all that was found, warnings too."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(render_text(self.problems))


def errors(problems: Iterable[Problem]) -> list[Problem]:
    """Those that keep the configuration from being used."""
    return [problem for problem in problems if problem.severity == "error"]


def render_text(problems: Iterable[Problem]) -> str:
    """One line a problem, for a terminal."""
    return "\n".join(map(str, problems))


def render_rows(problems: Iterable[Problem]) -> list[dict[str, str | int | None]]:
    """The problems as JSON rows: `{"file", "line", "column", "path", "severity", "message", "suggestion"}`."""
    return [msgspec.to_builtins(problem) for problem in problems]
