"""Collects the problems of one file while it is read, with the places they are about."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from flows.config.nodes import Mark
from flows.config.problems import Problem, Severity

MAX_PROBLEMS = 1_000


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """`did you mean 'x'?` where something known is near, else the list of what is known (if it is short)."""
    known = sorted(known)
    folded = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower()[:100], folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{folded[near[0]]}'?"
    return f"known: {', '.join(known)}" if 0 < len(known) <= 20 else None


class Report:
    """The problems found so far in `file`, and where each dotted path of the document stands."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._problems: list[Problem] = []
        self._places: dict[str, Mark] = {"": Mark(0, 0, 0)}

    def place(self, path: str, mark: Mark) -> None:
        """Remembers that `path` stands at `mark`."""
        self._places.setdefault(path, mark)

    def has(self, path: str) -> bool:
        """Whether the document says anything at `path`."""
        return path in self._places

    def add(
        self,
        path: str,
        message: str,
        suggestion: str | None = None,
        *,
        mark: Mark | None = None,
        severity: Severity = "error",
    ) -> None:
        """Adds a problem at `path`, at `mark` or where the path (or the nearest one around it) stands."""
        if len(self._problems) > MAX_PROBLEMS:
            return
        if len(self._problems) == MAX_PROBLEMS:
            path, message, suggestion, severity = "", "more problems than are shown; mend these first", None, "error"
        mark = mark or self._nearest(path)
        self._problems.append(Problem(self._file, mark.line + 1, mark.column + 1, path, severity, message, suggestion))

    @property
    def full(self) -> bool:
        """Whether more problems would not be shown."""
        return len(self._problems) > MAX_PROBLEMS

    def problems(self) -> list[Problem]:
        """Everything found, each problem once, in the order of the file."""
        return sorted(set(self._problems), key=lambda found: (found.line, found.column, found.path, found.message))

    def place_of(self, path: str) -> tuple[int, int]:
        """Line and column, from 1, of `path` or of the nearest one around it."""
        mark = self._nearest(path)
        return mark.line + 1, mark.column + 1

    def _nearest(self, path: str) -> Mark:
        while path not in self._places:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._places[path]
