"""The pipeline of a stream with a memory: segments that are one query a batch, and the steps between that remember.

Everything is in memory here. `flows.stateful.lane` keeps its state and its output on disk; tests and previews run it
from the first event to `finish`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import duckdb
import msgspec
import pyarrow as pa

from connectors.batch import StreamLines
from connectors.logger import get_logger
from connectors.sinks.base import Rows
from connectors.sinks.conform import mark_json
from connectors.telemetry import EVENTS_READ
from flows.bounds import STAGE, Bounded
from flows.columns import EXTRA, EXTRA_TYPE, OFFSET, dotted
from flows.config import Stream
from flows.fates import Fates
from flows.fitting import Fitting
from flows.letters import NO_EVENT, Aside, set_aside
from flows.processor import StreamProcessor
from flows.redirected import redirected, without_memory
from flows.rollups import table_of
from flows.shape import relation
from flows.stateful.opening import Opened, open_operators, open_rollups, release
from flows.stateful.operator import Changes, Flat
from flows.stateful.segments import Routing, Segment, registered
from flows.steps import Mask, Window
from flows.structures import Structures

_log = get_logger()

_SETTLED = timedelta(seconds=10)
"""After so long a silence every step with a memory has given what silence makes it give, unless it says longer."""


class Came(msgspec.Struct):
    """What came out: `rows` by destination, and what was set aside.

    The `_offset` of all of them is a `connectors.merging.place`; rollups have none.
    """

    rows: dict[str, list[Rows]] = msgspec.field(default_factory=dict)
    letters: list[Aside] = msgspec.field(default_factory=list)

    def joined(self, later: Came) -> Came:
        """This, and what came after it."""
        rows = {name: [*self.rows.get(name, []), *later.rows.get(name, [])] for name in {**self.rows, **later.rows}}
        return Came(rows, self.letters + later.letters)

    def __bool__(self) -> bool:
        return bool(self.rows or self.letters)


class StatefulPipeline:
    """The pipeline of the stream called `name`. Belongs to one thread; deterministic given its calls."""

    def __init__(
        self,
        name: str,
        stream: Stream,
        default: str | None,
        engine: duckdb.DuckDBPyConnection,
        bounded: Bounded | None = None,
    ) -> None:
        """`default` is the destination of events that no route takes; None drops them, counted.

        What a step lets go is worked on as `bounded` has it; without that, as far as it takes.
        """
        self._name = name
        self._stream = stream
        self._default = default
        self._engine = engine
        self._bounded = bounded
        self._masked = any(isinstance(step, Mask) for step in stream.steps)
        self._memoryless: StreamProcessor | None = None
        self._fitting = Fitting(stream.types, Structures(engine))
        fates = Fates(name, stream, default)
        self._steps = open_operators(stream, engine)
        self._rollups = open_rollups(name, stream, engine)
        idles = [step.idle for step in stream.steps if isinstance(step, Window)]
        self.idle = max([_SETTLED, *idles]) // timedelta(microseconds=1)
        ends = [opened.index for opened in self._steps]
        starts = [0, *(end + 1 for end in ends)]
        self._segments = [
            Segment(name, stream, engine, fates, start, stop)
            for start, stop in zip(starts, [*ends, len(stream.steps)], strict=True)
        ]
        self._routing = Routing(name, stream, engine, fates, default)

    def take(self, lines: StreamLines) -> Came:
        """What is ready once these events, in the order of their receipt, have come."""
        if lines.to is not None:
            return self._again(lines)
        came = Came()
        EVENTS_READ.labels(self._name).inc(lines.table.num_rows)
        good, bad = self._fitting.fit(lines)
        if bad:
            _log.error("lines that are no events go to the dead letters", stream=self._name, count=len(bad))
            came.letters.append(Aside("parse", lines.table.take(pa.array(bad)), NO_EVENT))
        if good.table.num_rows:
            self._engine.register("batch", good.table)
            try:
                sql, columns = relation(self._fitting.shape, self._name, "batch")
                # What is remembered meets events of another shape: `_extra` has one type throughout.
                self._on(0, self._segments[0].run(sql, {**columns, EXTRA: EXTRA_TYPE}), came)
            finally:
                self._engine.unregister("batch")
        return came

    def _again(self, lines: StreamLines) -> Came:
        """Of events that a destination had refused: they have been through all that remembers."""
        if self._memoryless is None:
            stream = without_memory(self._stream)
            self._memoryless = StreamProcessor(self._name, stream, self._default, self._engine)
        rows, asides = redirected(lines, self._memoryless)
        return Came({name: [Rows(self._name, table)] for name, table in rows.items()}, asides)

    def tick(self, now: int) -> Came:
        """What is ready at `now` (microseconds), the log being read to its end."""
        came = Came()
        for place, opened in enumerate(self._steps):
            self._pass(place + 1, opened.operator.tick(now), came)
        for rollup in self._rollups:
            self._emit(rollup.to, rollup.table, rollup.operator.tick(now), came)
        return came

    def finish(self) -> Came:
        """What is held, as if nothing more could come."""
        came = Came()
        for place, opened in enumerate(self._steps):
            self._pass(place + 1, opened.operator.finish(), came)
        for rollup in self._rollups:
            self._emit(rollup.to, rollup.table, rollup.operator.finish(), came)
        return came

    def changes(self) -> dict[str, Changes]:
        """How the state of each step differs from when it was last asked for."""
        found = {opened.key: opened.operator.changes() for opened in self._opened()}
        return {key: changed for key, changed in found.items() if changed.put or changed.gone}

    def definitions(self) -> dict[str, bytes]:
        """What makes each step with a memory anew, by its key."""
        return {opened.key: opened.definition for opened in self._opened()}

    def restore(self, pieces: Mapping[str, Mapping[str, pa.Table]]) -> None:
        """Takes up the state of each step by its key; called before anything else."""
        for opened in self._opened():
            opened.operator.restore(pieces.get(opened.key, {}))

    def take_up(self, definition: bytes, pieces: Mapping[str, pa.Table]) -> Came:
        """What a step held that the pipeline has no more: events go on behind the last step with a memory."""
        came = Came()
        held, rollup = release(definition, pieces, self._engine)
        if rollup is None:
            self._pass(len(self._steps), held, came)
        else:
            self._emit(rollup.to, table_of(self._name, rollup), held, came)
        return came

    def _opened(self) -> list[Opened]:
        return [*self._steps, *self._rollups]

    def _pass(self, place: int, events: Sequence[Flat], came: Came) -> None:
        """On with what a step has let go: all that is done with it from here is work over these events."""

        def work(part: Flat) -> None:
            self._on(place, self._segments[place].take(part), came)

        for flat in events:
            if not flat.table.num_rows:
                continue
            if self._bounded is None:
                work(flat)
                continue
            _, refused = self._bounded.run(flat, work)
            for reason, never in refused:
                step = f"after steps[{self._steps[place - 1].index}]" if place else "steps"
                letters = self._set_aside(never, step, reason)
                if self._masked:  # of the masks that are still to come, any may be what took too much
                    at = letters.column_names.index("payload")
                    letters = letters.set_column(at, "payload", pa.nulls(letters.num_rows, pa.string()))
                came.letters.append(Aside(STAGE, letters))

    def _on(self, place: int, passed: tuple[Flat, pa.Table | None], came: Came) -> None:
        """On from the end of segment `place`."""
        flat, letters = passed
        if letters is not None and letters.num_rows:
            came.letters.append(Aside("parse", letters))
        if not flat.table.num_rows:
            return
        if place < len(self._steps):
            self._pass(place + 1, self._steps[place].operator.take(flat), came)
            return
        for destination, table in self._routing.take(flat).items():
            came.rows.setdefault(destination, []).append(Rows(self._name, table))
        for rollup in self._rollups:
            self._emit(rollup.to, rollup.table, rollup.operator.take(flat), came)
            for late, reason in rollup.operator.letters():
                came.letters.append(Aside("rollup", self._set_aside(late, f"rollups.{rollup.table}", reason)))

    def _set_aside(self, events: Flat, step: str, reason: str) -> pa.Table:
        with registered(self._engine, events) as sql:
            return set_aside(self._engine, sql, events.columns, step, reason)

    def _emit(self, to: Sequence[str], table: str, rows: Sequence[Flat], came: Came) -> None:
        for flat in rows:
            if flat.table.num_rows:
                json = [path for path, kind in flat.columns.items() if kind == "JSON"]
                numbered = flat.table.append_column(dotted(OFFSET), pa.nulls(flat.table.num_rows, pa.int64()))
                for destination in to:
                    came.rows.setdefault(destination, []).append(Rows(table, mark_json(numbered, json)))
