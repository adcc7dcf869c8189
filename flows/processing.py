"""A batch of the log at work: each stream's part of it through the pipeline that was in force, rows by destination out."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from connectors.batch import LogBatch, StreamLines
from connectors.log import Log
from connectors.sinks import dead_letters
from connectors.sinks.base import Outcome, Rows
from connectors.telemetry import EVENTS_READ
from flows.bounds import STAGE, Bounded, Journal, journals
from flows.config import Config
from flows.in_force import Pipelines, Terms
from flows.letters import Aside, Letters, letters_of
from flows.lines import Lines
from flows.lookups.watched import watch
from flows.newcomers import Newcomers
from flows.processor import StreamProcessor, open_pipeline_engine
from flows.redirected import asides_of, in_offset_order, redirected


class Processing:
    """Runs each stream's part of a batch through its pipeline. Each worker thread has its own engine."""

    def __init__(
        self, config: Config, log: Log, elsewhere: Mapping[str, Mapping[int, int] | None], terms: Terms
    ) -> None:
        """`elsewhere` gives by stream id up to which offset of each partition its lane reads; None: for ever."""
        self._log = log
        self._elsewhere = elsewhere
        self._terms = terms
        self._known = journals(config.data, log.identity)
        self._bounded: dict[int, Bounded] = {}
        self._newcomers = Newcomers(config)
        self._lookups = [watch(*named) for stream in config.streams.values() for named in stream.lookups.items()]
        self._ways: dict[str, _Way] = {}
        self._by_thread: dict[int, _Processors] = {}

    def __call__(self, keyed: tuple[str, LogBatch]) -> tuple[str, Outcome]:
        """(key, batch) as the source gives it; (key, its outcome)."""
        key, batch = keyed
        parts = [part for part in (self._own(part, batch.partition) for part in batch.streams) if part.table.num_rows]
        cut = [(part, list(self._terms.cut(part, batch.partition))) for part in parts]
        rows: dict[str, list[Rows]] = {}
        for _, pieces in cut:
            for pipelines, piece in pieces:
                for destination, some in self._run(self._way(pipelines), piece, batch):
                    rows.setdefault(destination, []).append(some)
        if any(part.to is not None or len(pieces) > 1 for part, pieces in cut):
            rows = {destination: in_offset_order(some) for destination, some in rows.items()}
        if batch.only is None:
            self._terms.passes(batch.partition, batch.next_offset)
        after = (batch.flush, batch.start, batch.only, batch.ticket, batch.size)
        return key, Outcome(batch.partition, batch.next_offset, rows, *after)

    def _run(self, way: _Way, part: StreamLines, batch: LogBatch) -> list[tuple[str, Rows]]:
        """(destination, rows) of one stream's lines, which all go one way."""
        name = way.names.get(part.stream)
        if name is None:
            done, asides = self._unknown(way, part, batch)
        else:
            done, asides = self._done(part, batch, name, self._processors().of(way, name))
        found = [
            (destination, Rows(name or part.stream, table)) for taken in done for destination, table in taken.items()
        ]
        counted_as = None if batch.only is not None else name or "unknown"
        for aside in asides:
            letters = way.letters.of(name or part.stream, aside, batch.partition, counted_as=counted_as)
            found.append((dead_letters.NAME, letters))
        return found

    def _done(
        self, part: StreamLines, batch: LogBatch, name: str, processor: StreamProcessor
    ) -> tuple[list[dict[str, pa.Table]], list[Aside]]:
        """What the pipeline makes of the lines, within its bounds."""
        if batch.partition not in self._bounded:
            self._bounded[batch.partition] = Bounded(Journal(self._known / f"{batch.partition}.json"))
        again = batch.only is not None
        work = partial(_taken, batch=batch, processor=processor)
        done, refused = self._bounded[batch.partition].run(part, work, again=again)
        asides = [aside for _, set_aside in done for aside in set_aside]
        for reason, lines in refused:
            if not again:
                EVENTS_READ.labels(name).inc(lines.table.num_rows)
            asides.append(Aside(STAGE, lines.table, reason, part.to))
        return [taken for taken, _ in done], asides

    def _unknown(self, way: _Way, part: StreamLines, batch: LogBatch) -> tuple[list[dict[str, pa.Table]], list[Aside]]:
        """Of a stream that was taken when the configuration named it: it must not become invisible."""
        if batch.only not in (None, dead_letters.NAME):
            return [], []
        if way.pipelines.version == self._terms.now.version:
            self._newcomers.meet(part.stream)
        if batch.only is None:
            EVENTS_READ.labels("unknown").inc(part.table.num_rows)
        return [], [Aside("stream", part.table, f"the configuration has no stream {part.stream} any more", part.to)]

    def _own(self, part: StreamLines, partition: int) -> StreamLines:
        """Without what the stream's lane reads: all of it, or what lies below a handover."""
        until = self._elsewhere.get(part.stream, {})
        if until is None:
            return msgspec.structs.replace(part, table=part.table.slice(0, 0), ndjson=b"")
        below = until.get(partition, 0)
        if not below or part.table.column("_offset")[0].as_py() >= below:
            return part
        return part.where(pc.greater_equal(part.table.column("_offset"), below))

    def _way(self, pipelines: Pipelines) -> _Way:
        if pipelines.version not in self._ways:
            self._ways[pipelines.version] = _Way(pipelines, self._log)
        return self._ways[pipelines.version]

    def _processors(self) -> _Processors:
        thread = threading.get_ident()
        if thread not in self._by_thread:
            self._by_thread[thread] = _Processors()
        return self._by_thread[thread]


class _Way:
    """The pipelines of one configuration, as events go through them."""

    def __init__(self, pipelines: Pipelines, log: Log) -> None:
        self.pipelines = pipelines
        self.names = {stream.id: name for name, stream in pipelines.streams.items()}
        self.letters: Letters = letters_of(pipelines.streams, log.place, pipelines.version)


class _Processors:
    """Those of one thread, on one engine."""

    def __init__(self) -> None:
        self._engine = open_pipeline_engine()
        self._queries = Lines(self._engine)
        self._by_name: dict[tuple[str, str], StreamProcessor] = {}

    def of(self, way: _Way, name: str) -> StreamProcessor:
        """The processor of the stream called `name`."""
        key = (way.pipelines.version, name)
        if key not in self._by_name:
            stream, default = way.pipelines.streams[name], way.pipelines.default
            self._by_name[key] = StreamProcessor(name, stream, default, self._engine, self._queries)
        return self._by_name[key]


def _taken(part: StreamLines, batch: LogBatch, processor: StreamProcessor) -> tuple[dict[str, pa.Table], list[Aside]]:
    """The rows for each destination, and what is set aside."""
    if part.to is not None:
        return redirected(part, processor, only=batch.only)
    taken = processor.process(part, only=batch.only)
    asides = asides_of(taken)  # takes them out of it
    return taken, asides
