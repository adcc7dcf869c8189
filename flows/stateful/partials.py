"""Aggregates in two steps: over the events of a batch, then over what came of the batches; so groups are kept, not events."""

from __future__ import annotations

from collections.abc import Sequence

from flows.expression.aggregate import Call
from flows.expression.values import duck_type
from flows.stateful.aggregates import Aggregates
from flows.stateful.slots import NOTHING

Column = tuple[str, str, str]
"""Name, SQL and DuckDB type of a column."""


def can_be_partial(aggregates: Aggregates) -> bool:
    """Whether all of the aggregates can be computed so; of the others the events' own values are needed."""
    return all(_is_partial(call) for call in aggregates.calls)


class Partials:
    """The columns that a group of events comes to, `names`; `avg` has two, a sum and a count."""

    def __init__(self, aggregates: Aggregates) -> None:
        self._aggregates = aggregates
        parts = [[f"p{n}", f"c{n}"] if call.function == "avg" else [f"p{n}"] for n, call in enumerate(aggregates.calls)]
        self.names = [name for part in parts for name in part]

    def of_events(self, types: Sequence[str]) -> list[Column]:
        """The columns of a group, over slots of these types."""
        kinds = dict(zip(self._aggregates.names, types, strict=True))
        columns = []
        for number, call in enumerate(self._aggregates.calls):
            slot = f"x{number}"
            counted = f"count({slot})" if slot in kinds else "count(*)"
            if call.function == "count":
                columns.append((f"p{number}", counted, "BIGINT"))
                continue
            columns.append((f"p{number}", *_computed(call, slot, kinds[slot])))
            if call.function == "avg":
                columns.append((f"c{number}", counted, "BIGINT"))
        return columns

    def of_groups(self, types: Sequence[str]) -> list[Column]:
        """The same columns of a group that others make up, whose columns have these types."""
        columns = []
        kinds = dict(zip(self.names, types, strict=True))
        for number, call in enumerate(self._aggregates.calls):
            if call.function == "count":
                columns.append((f"p{number}", f"CAST(sum(p{number}) AS BIGINT)", "BIGINT"))
                continue
            columns.append((f"p{number}", *_computed(call, f"p{number}", kinds[f"p{number}"])))
            if call.function == "avg":
                columns.append((f"c{number}", f"CAST(sum(c{number}) AS BIGINT)", "BIGINT"))
        return columns

    def calls(self, types: Sequence[str]) -> list[tuple[str, str]]:
        """SQL and type of each call over groups whose columns have these types."""
        columns = {name: (sql, kind) for name, sql, kind in self.of_groups(types)}
        found = []
        for number, call in enumerate(self._aggregates.calls):
            sql, kind = columns[f"p{number}"]
            if call.function == "avg" and kind != NOTHING:
                sql, kind = f"CAST({sql} AS DOUBLE) / {columns[f'c{number}'][0]}", "DOUBLE"
            found.append((sql, kind))
        return found


def _is_partial(call: Call) -> bool:
    return call.function in ("sum", "min", "max", "avg") or (call.function == "count" and not call.distinct)


def _computed(call: Call, name: str, kind: str) -> tuple[str, str]:
    if kind == NOTHING:
        return f"any_value({name})", NOTHING
    function = "sum" if call.function == "avg" else call.function
    return f"{function}({name})", str(duck_type(f"{function}({name})", frozenset({(name, kind)})))
