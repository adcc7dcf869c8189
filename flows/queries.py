"""Queries that run again and again on one connection, over one batch after another, planned once each.

Planning a pipeline's query takes as long as running it over ten thousand events. A plan stays valid as long as the
catalog does, and registering a table changes that; so one *feed* is registered for good, and gives what it holds at the
time. What changes the catalog all the same (a temporary table, another stream) only has DuckDB plan again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from typing import Generic, TypeVar

import duckdb
import pyarrow as pa

from connectors.batch import LINES
from flows.columns import Columns, Path

_ONCE = 1_024  # texts that were run once: what may never come again is not planned for
_SHAPES = 16  # of events whose queries are kept: a stream settles on one
_FEW = 128  # rows
_numbers = count()

About = TypeVar("About")


class Queries:
    """The plans of one connection, and the `source` they read: a relation with the columns of `schema`, a batch at a time.

    Belongs to the thread that the connection belongs to.
    """

    def __init__(self, engine: duckdb.DuckDBPyConnection, schema: pa.Schema = LINES, *, kept: int = 128) -> None:
        """`kept` plans are remembered, those used last."""
        self._engine = engine
        self._kept = kept
        self._feed = _Feed(schema)
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
            return _fitting(self._engine.sql(sql).to_arrow_table())
        self._plans.move_to_end(sql)
        return _fitting(self._engine.sql(f"EXECUTE {plan}").to_arrow_table())

    def close(self) -> None:
        """Gives up the plans and the source."""
        for plan in self._plans.values():
            self._engine.execute(f"DEALLOCATE {plan}")
        self._plans.clear()
        self._engine.unregister(self.source)

    def _prepared(self, sql: str) -> str:
        del self._once[sql]
        plan = self._plans[sql] = f"plan_{next(_numbers)}"
        self._engine.execute(f"PREPARE {plan} AS {sql}")
        if len(self._plans) > self._kept:
            _, old = self._plans.popitem(last=False)
            self._engine.execute(f"DEALLOCATE {old}")
        return plan


class OfShapes(Generic[About]):
    """One query over events whose columns may change, written and planned once for each shape that comes.

    Belongs to the thread that the connection belongs to.
    """

    def __init__(self, engine: duckdb.DuckDBPyConnection, write: Callable[[Columns, str], tuple[str, About]]) -> None:
        """`write` gives the query for events with these columns in this relation, and what there is to know about it."""
        self._engine = engine
        self._write = write
        self._held: OrderedDict[tuple[tuple[tuple[Path, str], ...], pa.Schema], tuple[Queries, str, About]]
        self._held = OrderedDict()

    def run(self, columns: Columns, events: pa.Table) -> tuple[pa.Table, About]:
        """The rows of the query over `events`, whose columns have these DuckDB types, and what there is to know."""
        # A plan is of Arrow types: two that DuckDB reads as one type are read in different ways.
        shape = (tuple(columns.items()), events.schema)
        held = self._held.get(shape)
        if held is None:
            queries = Queries(self._engine, events.schema)
            held = self._held[shape] = (queries, *self._write(columns, queries.source))
            if len(self._held) > _SHAPES:
                self._held.popitem(last=False)[1][0].close()
        else:
            self._held.move_to_end(shape)
        queries, sql, about = held
        queries.put(events)
        try:
            return queries.run(sql), about
        finally:
            queries.clear()


def _fitting(rows: pa.Table) -> pa.Table:
    """The rows; few of them as copies, in as much memory as they need: DuckDB gives each column room for 2,048.

    Of thousands of streams each holds a few rows until its table commits.
    """
    batches = rows.to_batches()
    if not 0 < rows.num_rows < _FEW or len(batches) != 1:
        return rows
    middle = (rows.num_rows + 1) // 2
    return pa.Table.from_batches([pa.concat_batches([batches[0].slice(0, middle), batches[0].slice(middle)])])


class _Feed:
    """What DuckDB reads through Arrow's C stream interface: asked anew each time a query runs."""

    def __init__(self, schema: pa.Schema) -> None:
        self.empty = self.held = schema.empty_table()

    def __arrow_c_schema__(self) -> object:
        return self.held.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.held.__arrow_c_stream__(requested_schema)
