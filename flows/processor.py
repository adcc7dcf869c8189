"""One stream's pipeline at work: lines in, rows by destination out.

For each batch: check that the events fit the known shape (learn a wider one where they do not), then run one SQL query
that parses, applies the steps, decides the routes and builds the rows. The query is compiled and planned once a shape.
"""

from __future__ import annotations

from collections import OrderedDict

import duckdb
import msgspec
import pyarrow as pa

from connectors.batch import StreamLines
from connectors.logger import get_logger
from connectors.sinks import dead_letters
from connectors.sinks.conform import mark_json
from connectors.telemetry import EVENTS_READ
from connectors.timestamps import parse_timestamp
from flows.columns import Path
from flows.compile import Plan, compile_pipeline
from flows.config import Stream
from flows.engine import open_engine
from flows.fates import Fates
from flows.fitting import Fitting
from flows.lines import Lines
from flows.output import rows_query
from flows.shape import relation
from flows.stages import SET_ASIDE, Stages, Staging
from flows.steps.dropping import register_drop
from flows.steps.parse.functions import register

_log = get_logger()

_COMPILED = 16  # shapes whose query is kept: a stream settles on one


def open_pipeline_engine() -> duckdb.DuckDBPyConnection:
    """The connection that a process's pipelines run on, with the functions that shapes need."""
    engine = open_engine()
    engine.create_function(
        "iso8601_microseconds", _iso8601_microseconds, ["VARCHAR"], "BIGINT", null_handling="special"
    )
    register(engine)
    register_drop(engine)
    return engine


def _iso8601_microseconds(text: str | None) -> int | None:
    try:
        return None if text is None else parse_timestamp(text)
    except ValueError:
        return None


class _Compiled(msgspec.Struct, frozen=True):
    sql: str
    plan: Plan
    json: tuple[Path, ...]


class StreamProcessor:
    """The pipeline of the stream called `name`. Belongs to one thread."""

    def __init__(
        self,
        name: str,
        stream: Stream,
        default: str | None,
        engine: duckdb.DuckDBPyConnection,
        queries: Lines | None = None,
    ) -> None:
        """`default` is the destination of events that no route takes; None drops them, counted.

        `queries` are those of the engine, shared by all that run on it.
        """
        self._name = name
        self._stream = stream
        self._default = default
        self._queries = Lines(engine) if queries is None else queries
        self._fitting = Fitting(stream.types, self._queries.structures)
        self._fates = Fates(name, stream, default)
        self._compiled: OrderedDict[str, _Compiled] = OrderedDict()
        self._stages = Stages(name, stream, engine)

    def process(self, lines: StreamLines, *, only: str | None = None) -> dict[str, pa.Table]:
        """The rows for each destination, or for `only` one, in log order, as `flows.output` makes them.

        For one destination nothing is counted: its lines have been seen before.

        Lines that are no events (some other producer's: no gateway lets them in) are rows for the dead letters; under
        `SET_ASIDE` are the events that a step has set aside (see `flows.stages`).
        """
        if only is None:
            EVENTS_READ.labels(self._name).inc(lines.table.num_rows)
        good, unreadable = self._fitting.fit(lines)
        rows = self._rows(good, only) if good.table.num_rows else {}
        if unreadable and only in (None, dead_letters.NAME):
            rows[dead_letters.NAME] = lines.table.take(pa.array(unreadable))
        if unreadable and only is None:
            _log.error("lines that are no events go to the dead letters", stream=self._name, count=len(unreadable))
        return rows

    def _rows(self, lines: StreamLines, only: str | None) -> dict[str, pa.Table]:
        self._queries.put_of(self._name, lines.table)
        try:
            staging = self._stages.run(*relation(self._fitting.shape, None, self._queries.source))
            compiled = self._query(staging)
            rows = self._queries.run(compiled.sql)
        finally:
            self._queries.clear()
            self._stages.clear()
        taken = self._fates.routed(mark_json(rows, compiled.json), compiled.plan, only=only)
        if staging.letters is not None and only in (None, dead_letters.NAME):
            taken[SET_ASIDE] = staging.letters
        return taken

    def _query(self, staging: Staging) -> _Compiled:
        compiled = self._compiled.get(staging.key)
        if compiled is None:
            plan = compile_pipeline(
                self._stream.steps,
                self._stream.routes,
                staging.columns,
                default=self._default,
                begun=staging.begun,
                types=self._stream.types,
                mask_key=self._stream.mask_key,
                lookups=staging.lookups,
            )
            for warning in plan.warnings:
                _log.warning("an expression is NULL for every event of this shape", stream=self._name, why=warning)
            rows, json = rows_query(plan.columns, plan.sql(staging.source), plan.fate_columns)
            compiled = self._compiled[staging.key] = _Compiled(rows, plan, json)
            if len(self._compiled) > _COMPILED:
                self._compiled.popitem(last=False)
        return compiled
