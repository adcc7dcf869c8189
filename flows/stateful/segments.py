"""The parts of a pipeline between its steps with a memory: each one query a batch, as a stateless pipeline is one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import duckdb
import msgspec
import pyarrow as pa

from connectors.logger import get_logger
from connectors.sinks.conform import mark_json
from flows.columns import Columns, Path, column, dotted
from flows.compile import Plan, compile_pipeline
from flows.config import Stream
from flows.fates import Fates
from flows.output import rows_query
from flows.stages import Stages
from flows.stateful.operator import Flat

_log = get_logger()

_COMPILED = 32
_EVENTS = "events"


class _Query(msgspec.Struct, frozen=True):
    sql: str
    plan: Plan
    json: tuple[Path, ...] = ()


class _Queries:
    """Compiled queries by what they were compiled for; the oldest go."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._held: OrderedDict[str, _Query] = OrderedDict()

    def get(self, key: str) -> _Query | None:
        return self._held.get(key)

    def put(self, key: str, query: _Query) -> _Query:
        for warning in query.plan.warnings:
            _log.warning("an expression is NULL for every event of this shape", stream=self._stream, why=warning)
        self._held[key] = query
        if len(self._held) > _COMPILED:
            self._held.popitem(last=False)
        return query


class Segment:
    """The steps from `start` up to `stop` of a stream, none of which has a memory. Belongs to one thread."""

    def __init__(
        self, name: str, stream: Stream, engine: duckdb.DuckDBPyConnection, fates: Fates, start: int, stop: int
    ) -> None:
        self._stream = stream
        self._engine = engine
        self._fates = fates
        self._start = start
        self._stop = stop
        self._stages = Stages(name, stream, engine, start=start, stop=stop)
        self._queries = _Queries(name)

    def run(self, sql: str, columns: Columns) -> tuple[Flat, pa.Table | None]:
        """What comes of the rows of the query `sql`; and the events set aside (`flows.letters`), if there are any."""
        try:
            staging = self._stages.run(sql, columns)
            query = self._queries.get(staging.key)
            if query is None:
                plan = compile_pipeline(
                    self._stream.steps[: self._stop],
                    (),
                    staging.columns,
                    default=None,
                    start=self._start,
                    begun=staging.begun,
                    types=self._stream.types,
                    mask_key=self._stream.mask_key,
                    lookups=staging.lookups,
                )
                query = self._queries.put(staging.key, _Query(plan.sql(staging.source), plan))
            rows = self._engine.sql(query.sql).to_arrow_table()
        finally:
            self._stages.clear()
        kept = self._fates.kept(rows, query.plan)
        left = {path: kind for path, kind in query.plan.columns.items() if path[0] not in query.plan.failures}
        return Flat(kept.select([dotted(path) for path in left]), left), staging.letters

    def take(self, events: Flat) -> tuple[Flat, pa.Table | None]:
        """The same, of events that have passed the step before."""
        with registered(self._engine, events) as sql:
            return self.run(sql, events.columns)


class Routing:
    """The routes of a stream, for events that have passed its last step. Belongs to one thread."""

    def __init__(
        self, name: str, stream: Stream, engine: duckdb.DuckDBPyConnection, fates: Fates, default: str | None
    ) -> None:
        self._stream = stream
        self._engine = engine
        self._fates = fates
        self._default = default
        self._queries = _Queries(name)

    def take(self, events: Flat) -> Mapping[str, pa.Table]:
        """The rows by destination, as `flows.output` makes them, in the order of the events."""
        with registered(self._engine, events) as sql:
            query = self._queries.get(sql)
            if query is None:
                plan = compile_pipeline((), self._stream.routes, events.columns, default=self._default)
                rows, json = rows_query(plan.columns, plan.sql(f"({sql})"), plan.fate_columns)
                query = self._queries.put(sql, _Query(rows, plan, json))
            table = self._engine.sql(query.sql).to_arrow_table()
        return self._fates.routed(mark_json(table, query.json), query.plan)


class registered:  # noqa: N801 -- used as a verb: `with registered(engine, events) as sql`
    """Makes events a relation of the engine's; gives the query of them in their types, which tells them apart.

    Arrow has no JSON type and lends it to a text: every column is cast to what it is.
    """

    def __init__(self, engine: duckdb.DuckDBPyConnection, events: Flat) -> None:
        self._engine = engine
        self._events = events

    def __enter__(self) -> str:
        self._engine.register(_EVENTS, self._events.table)
        items = [f"CAST({column(path)} AS {kind}) AS {column(path)}" for path, kind in self._events.columns.items()]
        return f"SELECT {', '.join(items)} FROM {_EVENTS}"

    def __exit__(self, *_: object) -> None:
        self._engine.unregister(_EVENTS)
