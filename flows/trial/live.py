"""A pipeline with a memory run on as its events come: what leaves it, when it leaves, with what the dataflow would give it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta

import msgspec
import numpy as np
import pyarrow as pa

import flows.stages
from connectors.batch import StreamLines
from connectors.merging import split_places
from connectors.sinks.conform import json_paths
from flows.bounds import bounded_trial
from flows.config import Stream
from flows.processor import open_pipeline_engine
from flows.redirected import without_memory
from flows.stateful.pipeline import Came, StatefulPipeline
from flows.steps import Filter, Sample, Window
from flows.trial.conceal import conceal
from flows.trial.flat import flat
from flows.trial.remembering import UNMATCHED
from flows.trial.trace import EventTrace, Tracer

_CONCEALED = 1_000_000  # events of which it is remembered what masks hide; one that waits for longer is not shown


def reach(stream: Stream) -> timedelta:
    """How long before an event others come that what becomes of it can depend on."""
    found = timedelta(0)
    for step in stream.steps:
        if isinstance(step, Window):
            found += step.length + step.lateness
        elif isinstance(step, Sample) and step.has_memory:
            rate = step.per.events_per_second if step.per else step.dynamic.target_per_second if step.dynamic else 1.0
            found += timedelta(seconds=math.ceil(rate) / rate)
    return found


class Live:
    """Runs the pipeline of the stream called `name`, and shows of what leaves it the events from the offsets `since` on.

    `default` is the destination of events that no route takes; `where` (a condition) chooses among what leaves. The events
    `left_out` (by id) are not shown. Belongs to one thread; `close` it.
    """

    def __init__(
        self,
        name: str,
        stream: Stream,
        default: str | None,
        where: str | None,
        since: Mapping[int, int],
        left_out: Collection[str],
    ) -> None:
        chosen = () if where is None else (Filter(where),)
        run = msgspec.structs.replace(stream, steps=(*stream.steps, *chosen), rollups=())
        self._engine = open_pipeline_engine()
        self._pipeline = StatefulPipeline(name, run, UNMATCHED, self._engine)
        self._doing = f"streams.{name}"
        self._default = default
        self._since = since
        self._left_out = left_out
        masked = any(isinstance(step, flows.stages.PROTECTING) for step in stream.steps)
        self._tracer = Tracer(name, without_memory(stream), default) if masked else None
        self._hidden: dict[str, tuple[str, ...]] = {}

    def close(self) -> None:
        """Closes the engines."""
        self._engine.close()
        if self._tracer is not None:
            self._tracer.close()

    def take(self, lines: StreamLines) -> Iterator[EventTrace]:
        """What leaves the pipeline once these events, in the order of their receipt, have come."""
        if self._tracer is not None:
            self._hidden |= self._tracer.hidden(lines.where(self._of_interest(lines.table)))
            for event_id in list(self._hidden)[: max(0, len(self._hidden) - _CONCEALED)]:
                del self._hidden[event_id]
        with bounded_trial(lambda: self._doing):
            came = self._pipeline.take(lines)
        yield from self._shown(came)

    def tick(self, now: int) -> Iterator[EventTrace]:
        """What leaves at `now` (UTC microseconds), the log being read to its end."""
        with bounded_trial(lambda: self._doing):
            came = self._pipeline.tick(now)
        yield from self._shown(came)

    def finish(self) -> Iterator[EventTrace]:
        """What is held, as if nothing more could come."""
        with bounded_trial(lambda: self._doing):
            came = self._pipeline.finish()
        yield from self._shown(came)

    def _of_interest(self, table: pa.Table) -> pa.Array:
        """Which rows, whose `_offset` is a place, are of events that may be shown."""
        partitions, offsets = (part.to_numpy() for part in split_places(table["_offset"]))
        shown = np.zeros(table.num_rows, bool)
        for partition, offset in self._since.items():
            shown |= (partitions == partition) & (offsets >= offset)
        return pa.array(shown)

    def _shown(self, came: Came) -> Iterator[EventTrace]:
        found: dict[str, EventTrace] = {}
        for destination, parts in came.rows.items():
            name = self._default if destination == UNMATCHED else destination
            to = () if name is None else (name,)
            for part in parts:
                table = part.table.filter(self._of_interest(part.table))
                json = json_paths(table.schema)
                for row in table.to_pylist():
                    event_id = row["event_id"]
                    known = found.get(event_id) or EventTrace(event_id, 0, output=flat(row, json))
                    found[event_id] = msgspec.structs.replace(known, to=(*known.to, *to))
        for event_id, trace in found.items():
            hidden = () if self._tracer is None else self._hidden.pop(event_id, None)
            if event_id not in self._left_out and hidden is not None:
                safe = {path: conceal(value, hidden) for path, value in trace.output.items()}
                yield msgspec.structs.replace(trace, output=safe)
