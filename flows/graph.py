"""The one dataflow: log -> batches -> each stream's pipeline -> destinations.

python -m bytewax.run "flows.graph:pipeline('headrace.yaml')" -r state -s 1 -b 0
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import bytewax.operators as op
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.dataflow import Dataflow

from connectors.batch import LogBatch, StreamLines
from connectors.lag import follow_lag
from connectors.log import Log, open_log
from connectors.sinks import dead_letters
from connectors.sinks.base import Outcome, Progress, Rows, Writer
from connectors.sinks.delivery import Delivery
from connectors.sinks.letter_table import letter_table
from connectors.sinks.operator import DestinationSink
from connectors.source import LogSource, Stop
from connectors.telemetry import EVENTS_READ
from flows.bounds import STAGE, Bounded, Journal, journals
from flows.config import DEFAULT_DESTINATION, Config, config_version, load
from flows.destinations import open_writers
from flows.letters import Aside, letters_of
from flows.lookups.watched import watch
from flows.newcomers import Newcomers
from flows.owed import Owed
from flows.processor import StreamProcessor, open_pipeline_engine
from flows.queries import Queries
from flows.recovery import state_of_log
from flows.redirected import asides_of, in_offset_order, redirected
from flows.set_aside import SetAside
from flows.stateful.lanes import lanes_of, open_lane, owned, prepare_stores, read_elsewhere
from flows.stateful.source import StreamsSource

NAME = "headrace"
"""The pipeline's name: of the consumer group, and in the recovery store."""


def pipeline(path: str | Path = "headrace.yaml") -> Dataflow:
    """The dataflow of a configuration file, for `python -m bytewax.run`."""
    config = load(Path(path))
    return build(config, open_log(config.log), Stop())


def build(config: Config, log: Log, stop: Stop, *, process: int = 0, processes: int = 1) -> Dataflow:
    """The dataflow that reads the partitions of process `process` of `processes`: a partition stays in one process."""
    parts = wire(config, log, stop, open_writers(config, log), process=process, processes=processes)
    follow_lag(log, parts.partitions, parts.progress)
    flow = Dataflow(NAME)
    batches = op.input("log", flow, parts.source)  # (partition, LogBatch): Arrow tables, a row an event
    stateless = op.map("pipelines", batches, parts.processing)  # (partition, Outcome): rows by destination
    stateful = op.input("streams", flow, parts.streams)  # (lane, Outcome): of the streams with a memory
    outcomes = op.merge("outcomes", stateless, stateful)
    for delivery in parts.deliveries:
        op.output(f"to_{delivery.name}", outcomes, DestinationSink(delivery, parts.partitions, log.partitions))
    return flow


class Parts(NamedTuple):
    """What a dataflow is put together from. All of `deliveries` are offered every outcome of `processing` and `streams`."""

    partitions: list[int]
    source: LogSource
    processing: Callable[[tuple[str, LogBatch]], tuple[str, Outcome]]
    streams: StreamsSource
    deliveries: list[Delivery]
    progress: Progress


def wire(
    config: Config,
    log: Log,
    stop: Stop,
    writers: Mapping[str, Writer],
    *,
    process: int = 0,
    processes: int = 1,
    version: str | None = None,
) -> Parts:
    """The parts of process `process` of `processes`; dead letters name the configuration by `version` (default: its own)."""
    partitions = [p for p in range(log.partitions) if p % processes == process]
    version = version or config_version(config)
    progress = Progress()
    prepare_stores(config, log, NAME)
    own = owned(lanes_of(config, log), process, min(processes, log.partitions))
    names = {stream.id: name for name, stream in config.streams.items()}
    windows = {stream.id: round(stream.dedupe_window.total_seconds() * 1e6) for stream in config.streams.values()}
    owed = Owed(state_of_log(config.data, log.identity) / "routes.json", config, version)
    source = LogSource(lambda: log, partitions, progress, stop, windows, names, group=NAME, begun=owed.begin)
    known = journals(config.data, log.identity)
    processing = _Processing(config, log, names, read_elsewhere(config, log), version, known, owed)
    streams = StreamsSource(
        lambda: [open_lane(config, name, log, NAME, version) for name in own], progress, stop, len(own)
    )
    edition = {dead_letters.NAME: dead_letters.edition(version)}
    deliveries = [
        Delivery(name, writer, carries=name not in edition, kept_as=edition.get(name))
        for name, writer in writers.items()
    ]
    for delivery in deliveries:
        progress.register(delivery)
    return Parts(partitions, source, processing, streams, deliveries, progress)


class _Processing:
    """Runs each stream's part of a batch through its pipeline. Each worker thread has its own engine."""

    def __init__(
        self,
        config: Config,
        log: Log,
        names: Mapping[str, str],
        elsewhere: Mapping[str, Mapping[int, int] | None],
        version: str,
        known: Path,
        owed: Owed,
    ) -> None:
        """`known` has a journal (`flows.bounds`) for each partition."""
        self._config = config
        self._names = names
        self._default = DEFAULT_DESTINATION if DEFAULT_DESTINATION in config.destinations else None
        self._letters = letters_of(config, log.place, version)
        self._set_aside = SetAside(letter_table(config.data), log)
        self._elsewhere = elsewhere
        self._known = known
        self._owed = owed
        self._bounded: dict[int, Bounded] = {}
        self._newcomers = Newcomers(config)
        self._lookups = [watch(*named) for stream in config.streams.values() for named in stream.lookups.items()]
        self._by_thread: dict[int, Callable[[str], StreamProcessor]] = {}

    def __call__(self, keyed: tuple[str, LogBatch]) -> tuple[str, Outcome]:
        key, batch = keyed
        processor_of = self._by_thread.get(threading.get_ident())
        if processor_of is None:
            processor_of = self._by_thread[threading.get_ident()] = self._processors()
        rows: dict[str, list[Rows]] = {}
        letters: list[Rows] = []
        for part in batch.streams:
            part = self._set_aside.without(self._own(part, batch.partition), batch.partition)  # noqa: PLW2901 -- what is left
            if not part.table.num_rows:
                continue
            name = self._names.get(part.stream)
            if name is None:
                done, asides = self._unknown(part, batch)
            else:
                done, asides = self._done(part, batch, name, processor_of(name))
            for destination, table in (item for taken in done for item in taken.items()):
                rows.setdefault(destination, []).append(Rows(name or part.stream, table))
            counted_as = None if batch.only is not None else name or "unknown"
            of = name or part.stream
            owed = [self._owed.of(aside, part.stream, batch.partition) for aside in asides]
            letters += [
                self._letters.of(of, aside, batch.partition, counted_as=counted_as)
                for aside in owed
                if aside.events.num_rows
            ]
        if letters:
            rows[dead_letters.NAME] = letters
        if any(part.to is not None for part in batch.streams):
            rows = {destination: in_offset_order(parts) for destination, parts in rows.items()}
        after = (batch.flush, batch.start, batch.only, batch.ticket, batch.size)
        return key, Outcome(batch.partition, batch.next_offset, rows, *after)

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

    def _unknown(self, part: StreamLines, batch: LogBatch) -> tuple[list[dict[str, pa.Table]], list[Aside]]:
        """Of a stream that was taken when the configuration named it: it must not become invisible."""
        if batch.only not in (None, dead_letters.NAME):
            return [], []
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

    def _processors(self) -> Callable[[str], StreamProcessor]:
        engine = open_pipeline_engine()
        queries = Queries(engine)
        processors: dict[str, StreamProcessor] = {}

        def processor_of(name: str) -> StreamProcessor:
            if name not in processors:
                processors[name] = StreamProcessor(name, self._config.streams[name], self._default, engine, queries)
            return processors[name]

        return processor_of


def _taken(part: StreamLines, batch: LogBatch, processor: StreamProcessor) -> tuple[dict[str, pa.Table], list[Aside]]:
    """The rows for each destination, and what is set aside."""
    if part.to is not None:
        return redirected(part, processor, only=batch.only)
    taken = processor.process(part, only=batch.only)
    asides = asides_of(taken)  # takes them out of it
    return taken, asides
