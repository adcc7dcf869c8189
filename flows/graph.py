"""The one dataflow: log -> batches -> each stream's pipeline -> destinations.

python -m bytewax.run "flows.graph:pipeline('headrace.yaml')" -r state -s 1 -b 0
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import bytewax.operators as op
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.dataflow import Dataflow

from connectors.batch import LogBatch, StreamLines
from connectors.lag import follow_lag
from connectors.log import Log, open_log
from connectors.sinks import dead_letters
from connectors.sinks.base import Outcome, Progress, Rows
from connectors.sinks.delivery import Delivery
from connectors.sinks.operator import DestinationSink
from connectors.source import LogSource, Stop
from connectors.telemetry import DEAD_LETTERS, EVENTS_READ
from flows import bounds
from flows.config import DEFAULT_DESTINATION, Config, config_version, load
from flows.destinations import open_writers, topic_of
from flows.lookups import watch
from flows.newcomers import Newcomers
from flows.processor import StreamProcessor, open_pipeline_engine
from flows.stages import SET_ASIDE
from flows.stateful.lanes import lanes_of, open_lane, owned, prepare_stores, read_elsewhere
from flows.stateful.source import StreamsSource
from flows.steps import Mask

NAME = "headrace"
"""The pipeline's name: of the consumer group, and in the recovery store."""


def pipeline(path: str | Path = "headrace.yaml") -> Dataflow:
    """The dataflow of a configuration file, for `python -m bytewax.run`."""
    config = load(Path(path))
    return build(config, open_log(config.log), Stop())


def build(config: Config, log: Log, stop: Stop, *, process: int = 0, processes: int = 1) -> Dataflow:
    """The dataflow that reads the partitions of process `process` of `processes`: a partition stays in one process."""
    partitions = [p for p in range(log.partitions) if p % processes == process]
    progress = Progress()
    prepare_stores(config, log, NAME)
    own = owned(lanes_of(config, log), process, min(processes, log.partitions))
    names = {stream.id: name for name, stream in config.streams.items()}
    windows = {stream.id: round(stream.dedupe_window.total_seconds() * 1e6) for stream in config.streams.values()}
    source = LogSource(lambda: log, partitions, progress, stop, windows, names, group=NAME)
    processing = _Processing(config, names, read_elsewhere(config, log), bounds.journals(config.data, log.identity))
    follow_lag(log, partitions, progress)
    streams = StreamsSource(
        lambda: [open_lane(config, name, log, NAME, topic_of(config)) for name in own], progress, stop, len(own)
    )

    flow = Dataflow(NAME)
    batches = op.input("log", flow, source)  # (partition, LogBatch): Arrow tables, a row an event
    stateless = op.map("pipelines", batches, processing)  # (partition, Outcome): rows by destination
    stateful = op.input("streams", flow, streams)  # (lane, Outcome): of the streams with a memory
    outcomes = op.merge("outcomes", stateless, stateful)
    for name, writer in open_writers(config, log).items():
        delivery = Delivery(name, writer, carries=name != dead_letters.NAME)
        progress.register(delivery)
        op.output(f"to_{name}", outcomes, DestinationSink(delivery, partitions, log.partitions))
    return flow


class _Processing:
    """Runs each stream's part of a batch through its pipeline. Each worker thread has its own engine."""

    def __init__(
        self,
        config: Config,
        names: Mapping[str, str],
        elsewhere: Mapping[str, Mapping[int, int] | None],
        journals: Path,
    ) -> None:
        self._config = config
        self._names = names
        self._default = DEFAULT_DESTINATION if DEFAULT_DESTINATION in config.destinations else None
        self._version = config_version(config)
        self._elsewhere = elsewhere
        self._journals = journals
        self._bounded_by_partition: dict[int, bounds.Bounded] = {}
        self._newcomers = Newcomers(config)
        self._lookups = [watch(*named) for stream in config.streams.values() for named in stream.lookups.items()]
        self._by_thread: dict[int, Callable[[str], StreamProcessor]] = {}

    def __call__(self, keyed: tuple[str, LogBatch]) -> tuple[str, Outcome]:
        key, batch = keyed
        processor_of = self._by_thread.get(threading.get_ident())
        if processor_of is None:
            processor_of = self._by_thread[threading.get_ident()] = self._processors()
        rows: dict[str, list[Rows]] = {}
        for part in batch.streams:
            part = self._own(part, batch.partition)  # noqa: PLW2901 -- what is left of it
            if not part.table.num_rows:
                continue
            name = self._names.get(part.stream)
            if name is None and batch.only not in (None, dead_letters.NAME):
                continue
            if name is None:  # taken when the configuration named it: it must not become invisible
                self._newcomers.meet(part.stream)
                reason = f"the configuration has no stream {part.stream} any more"
                letters = self._letters(part.stream, part.table, batch.partition, stage="stream", error=reason)
                rows.setdefault(dead_letters.NAME, []).append(letters)
                if batch.only is None:
                    EVENTS_READ.labels("unknown").inc(part.table.num_rows)
                    DEAD_LETTERS.labels("unknown", "stream").inc(part.table.num_rows)
                continue
            process = partial(processor_of(name).process, only=batch.only)
            done, refused = self._bounded(batch.partition).run(part, process, again=batch.only is not None)
            for destination, table in (item for taken in done for item in taken.items()):
                if destination == dead_letters.NAME:
                    reason = "not an event: the record was not written by a gateway"
                    letters = self._letters(name, table, batch.partition, stage="parse", error=reason)
                    rows.setdefault(destination, []).append(letters)
                elif destination == SET_ASIDE:
                    rows.setdefault(dead_letters.NAME, []).append(self._set_aside(name, table, batch.partition))
                else:
                    rows.setdefault(destination, []).append(Rows(name, table))
            for reason, lines in refused:
                letters = self._letters(name, lines, batch.partition, stage=bounds.STAGE, error=reason)
                rows.setdefault(dead_letters.NAME, []).append(letters)
                if batch.only is None:
                    bounds.count(name, lines.num_rows)
        after = (batch.flush, batch.start, batch.only, batch.ticket, batch.size)
        return key, Outcome(batch.partition, batch.next_offset, rows, *after)

    def _bounded(self, partition: int) -> bounds.Bounded:
        if partition not in self._bounded_by_partition:
            journal = bounds.Journal(self._journals / f"{partition}.json")
            self._bounded_by_partition[partition] = bounds.Bounded(journal)
        return self._bounded_by_partition[partition]

    def _own(self, part: StreamLines, partition: int) -> StreamLines:
        """Without what the stream's lane reads: all of it, or what lies below a handover."""
        until = self._elsewhere.get(part.stream, {})
        if until is None:
            return StreamLines(part.stream, part.table.slice(0, 0), b"")
        below = until.get(partition, 0)
        if not below or part.table.column("_offset")[0].as_py() >= below:
            return part
        table = part.table.filter(pc.greater_equal(part.table.column("_offset"), below))
        return StreamLines(part.stream, table, "\n".join(table.column("line").to_pylist()).encode())

    def _letters(self, stream: str, lines: pa.Table, partition: int, *, stage: str, error: str) -> Rows:
        letters = dead_letters.of_lines(
            lines,
            stage=stage,
            error=error,
            stream=stream,
            topic=topic_of(self._config),
            partition=partition,
            config_version=self._version,
            payload=not self._masked(stream),
        )
        return Rows(dead_letters.NAME, letters)

    def _set_aside(self, stream: str, events: pa.Table, partition: int) -> Rows:
        letters = dead_letters.of_events(
            events,
            stage="parse",
            stream=stream,
            topic=topic_of(self._config),
            partition=partition,
            config_version=self._version,
        )
        return Rows(dead_letters.NAME, letters)

    def _masked(self, stream: str) -> bool:
        known = self._config.streams.get(stream)
        return known is not None and any(isinstance(step, Mask) for step in known.steps)

    def _processors(self) -> Callable[[str], StreamProcessor]:
        engine = open_pipeline_engine()
        processors: dict[str, StreamProcessor] = {}

        def processor_of(name: str) -> StreamProcessor:
            if name not in processors:
                processors[name] = StreamProcessor(name, self._config.streams[name], self._default, engine)
            return processors[name]

        return processor_of
