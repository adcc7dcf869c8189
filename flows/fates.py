"""What became of each row of a pipeline's query: dropped by a step, unreadable to a parse, or on its way somewhere.

Every drop and every failure is counted here, by the step that made it.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from connectors.telemetry import ENRICHED, EVENTS_DROPPED, EVENTS_UNMATCHED, PARSE_FAILURES
from flows.compile import UNMATCHED, Plan
from flows.config import Stream
from flows.steps import Parse


class Fates:
    """Reads the fate columns of the stream called `name`. `default` takes what no route takes; None drops it."""

    def __init__(self, name: str, stream: Stream, default: str | None) -> None:
        self._name = name
        self._stream = stream
        self._default = default

    def kept(self, rows: pa.Table, plan: Plan, *, counting: bool = True) -> pa.Table:
        """The rows that no step dropped, without the columns that told it."""
        if counting:
            self._count(rows, plan)
        rows = rows.drop_columns(list(plan.failures))
        if plan.drops:
            rows = rows.filter(pc.is_null(rows.column("_drop"))).drop_columns("_drop")
        return rows

    def routed(self, rows: pa.Table, plan: Plan, *, only: str | None = None) -> dict[str, pa.Table]:
        """The rows that were kept, by destination; for `only` one of them nothing is counted."""
        destinations = [name for name in plan.destinations if only in (None, name)]
        if not plan.routed:
            rows = self.kept(rows, plan, counting=only is None)
            return dict.fromkeys(destinations, rows) if rows.num_rows else {}
        if only is None:
            self._count(rows, plan)
            self._count_unmatched(pc.sum(rows.column(UNMATCHED)).as_py() or 0)
        # A dropped row goes to no destination: one filter takes the rows that were kept.
        columns = rows.drop_columns(list(plan.fate_columns))
        taken = {name: columns.filter(rows.column(f"_to:{name}")) for name in destinations}
        return {name: part for name, part in taken.items() if part.num_rows}

    def _count(self, rows: pa.Table, plan: Plan) -> None:
        for failure in plan.failures:
            step = f"steps[{failure.rpartition('_')[2]}]"
            told = rows.column(failure)
            failed = pc.sum(told).as_py() or 0
            if failure.startswith("_missed_"):
                ENRICHED.labels(self._name, step, "miss").inc(failed)
                ENRICHED.labels(self._name, step, "hit").inc(len(told) - told.null_count - failed)
            else:
                PARSE_FAILURES.labels(self._name, step).inc(failed)
        if plan.drops:
            self._count_drops(rows.column("_drop"))

    def _count_drops(self, drops: pa.ChunkedArray) -> None:
        for count in pc.value_counts(drops.drop_null()).to_pylist():
            step = self._stream.steps[count["values"]]
            if isinstance(step, Parse) and step.on_error == "dead_letter":
                continue  # set aside, not dropped
            intended = "false" if isinstance(step, Parse) else "true"
            EVENTS_DROPPED.labels(self._name, f"steps[{count['values']}]", intended).inc(count["counts"])

    def _count_unmatched(self, unmatched: int) -> None:
        if self._default is not None:
            EVENTS_UNMATCHED.labels(self._name).inc(unmatched)
        elif unmatched:
            EVENTS_DROPPED.labels(self._name, "routes", "true").inc(unmatched)
