"""A layer of a pipeline's query: the SQL so far, and the columns it gives."""

from __future__ import annotations

import msgspec

from flows.columns import Columns, Path, column

DROP = '"_drop"'
"""The column that says which step dropped a row: its index, NULL while the row is kept."""

MARKS = ("_failed_", "_missed_")
"""What begins the names of columns (BOOLEAN) that tell what became of a row at a step, its index behind: a `parse` could
not read it, an `enrich` found nothing."""


class Layer(msgspec.Struct, frozen=True):
    """`before` + a relation + `after` is a query of `columns`, and of `_drop` once a step `drops`."""

    columns: Columns
    before: str = ""
    after: str = ""
    drops: bool = False
    warnings: tuple[str, ...] = ()

    def select(self, items: list[str], *, columns: Columns | None = None) -> Layer:
        """The layer on top that selects `items`."""
        return msgspec.structs.replace(
            self,
            before=f"SELECT {', '.join(items)} FROM ({self.before}"
            if self.before
            else f"SELECT {', '.join(items)} FROM ",
            after=f"{self.after})" if self.before else self.after,
            columns=self.columns if columns is None else columns,
        )

    def carried(self, *, without: frozenset[Path] = frozenset()) -> list[str]:
        """The columns as they are, to select."""
        return [column(path) for path in self.columns if path not in without]

    def guarded(self, sql: str) -> str:
        """The expression, computed only for rows that no step has dropped."""
        return f"CASE WHEN {DROP} IS NULL THEN {sql} END" if self.drops else sql
