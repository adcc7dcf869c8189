"""Queries that run again and again on one connection, over one batch after another, planned once each.

Planning a pipeline's query takes as long as running it over ten thousand events. A plan stays valid as long as the
catalog does, and registering a table changes that; so one *feed* is registered for good, and gives what it holds at the
time. What changes the catalog all the same (a temporary table, another stream) only has DuckDB plan again.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import count

import duckdb
import pyarrow as pa

from connectors.batch import LINES

_ONCE = 1_024  # texts that were run once: what may never come again is not planned for
_numbers = count()


class Queries:
    """The plans of one connection, and the `source` they read: a relation with the columns of `LINES`, one batch at a time.

    Belongs to the thread that the connection belongs to.
    """

    def __init__(self, engine: duckdb.DuckDBPyConnection, *, kept: int = 128) -> None:
        """`kept` plans are remembered, those used last."""
        self._engine = engine
        self._kept = kept
        self._feed = _Feed(LINES)
        self._plans: OrderedDict[str, str] = OrderedDict()
        self._once: OrderedDict[str, None] = OrderedDict()
        self.source = f"batch_{next(_numbers)}"
        engine.register(self.source, self._feed)

    def put(self, lines: pa.Table) -> None:
        """Makes `lines` what the source has, until `clear`."""
        self._feed.held = lines

    def clear(self) -> None:
        """Lets go of the batch: the source is empty."""
        self._feed.held = self._feed.empty

    def run(self, sql: str) -> pa.Table:
        """The rows of a query."""
        plan = self._plans.get(sql)
        if plan is None and sql in self._once:
            plan = self._prepared(sql)
        if plan is None:
            self._once[sql] = None
            if len(self._once) > _ONCE:
                self._once.popitem(last=False)
            return self._engine.sql(sql).to_arrow_table()
        self._plans.move_to_end(sql)
        return self._engine.sql(f"EXECUTE {plan}").to_arrow_table()

    def _prepared(self, sql: str) -> str:
        del self._once[sql]
        plan = self._plans[sql] = f"plan_{next(_numbers)}"
        self._engine.execute(f"PREPARE {plan} AS {sql}")
        if len(self._plans) > self._kept:
            _, old = self._plans.popitem(last=False)
            self._engine.execute(f"DEALLOCATE {old}")
        return plan


class _Feed:
    """What DuckDB reads through Arrow's C stream interface: asked anew each time a query runs."""

    def __init__(self, schema: pa.Schema) -> None:
        self.empty = self.held = schema.empty_table()

    def __arrow_c_schema__(self) -> object:
        return self.held.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.held.__arrow_c_stream__(requested_schema)
