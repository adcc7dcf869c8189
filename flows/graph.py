"""The one dataflow: log -> batches -> each stream's pipeline -> destinations.

python -m bytewax.run "flows.graph:pipeline('headrace.yaml')" -r state -s 1 -b 0
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from connectors.batch import LogBatch
from connectors.lag import follow_lag
from connectors.log import Log, open_log
from connectors.sinks import dead_letters
from connectors.sinks.base import Outcome, Progress, Writer
from connectors.sinks.delivery import Delivery
from connectors.sinks.operator import DestinationSink
from connectors.source import LogSource, Stop
from flows.config import Config, config_version, load
from flows.destinations import open_writers
from flows.in_force import InForce, OnlyNow, pipelines_of
from flows.processing import Processing
from flows.recovery import state_of_log
from flows.stateful.lanes import lanes_of, open_lane, owned, prepare_stores, read_elsewhere, taken_out
from flows.stateful.source import StreamsSource

NAME = "headrace"
"""The pipeline's name: of the consumer group, and in the recovery store."""


def pipeline(path: str | Path = "headrace.yaml") -> Dataflow:
    """The dataflow of a configuration file, for `python -m bytewax.run`."""
    config = load(Path(path))
    return build(config, open_log(config.log), Stop())


def build(config: Config, log: Log, stop: Stop, *, process: int = 0, processes: int = 1) -> Dataflow:
    """The dataflow that reads the partitions of process `process` of `processes`: a partition stays in one process."""
    notes = state_of_log(config.data, log.identity) / "in_force"
    in_force = InForce(notes, _partitions(log, process, processes), pipelines_of(config), partial(_end, log))
    earlier = {name: stream for pipelines in in_force.known for name, stream in pipelines.streams.items()}
    writers = open_writers(config, log, before={**earlier, **taken_out(config, log)})
    parts = wire(config, log, stop, writers, process=process, processes=processes, in_force=in_force)
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
    in_force: InForce | None = None,
) -> Parts:
    """The parts of process `process` of `processes`; dead letters name the configuration by `version` (default: its own).

    Without `in_force` all goes through this configuration, whatever was read before.
    """
    partitions = _partitions(log, process, processes)
    version = version or config_version(config)
    progress = Progress()
    terms = in_force or OnlyNow(pipelines_of(config, version))
    prepare_stores(config, log, NAME, terms.handed)
    own = owned(lanes_of(config, log, version), process, min(processes, log.partitions))
    streams_known = {stream.id: (name, stream) for known in terms.known for name, stream in known.streams.items()}
    names = {id_: name for id_, (name, _) in streams_known.items()}
    windows = {id_: round(stream.dedupe_window.total_seconds() * 1e6) for id_, (_, stream) in streams_known.items()}
    source = LogSource(lambda: log, partitions, progress, stop, windows, names, group=NAME, course=in_force)
    processing = Processing(config, log, read_elsewhere(config, log), terms)
    streams = StreamsSource(
        lambda: [open_lane(config, name, kept, log, NAME) for name, kept in own.items()], progress, stop, len(own)
    )
    deliveries = [Delivery(name, writer, carries=name != dead_letters.NAME) for name, writer in writers.items()]
    for delivery in deliveries:
        progress.register(delivery)
    return Parts(partitions, source, processing, streams, deliveries, progress)


def _partitions(log: Log, process: int, processes: int) -> list[int]:
    return [partition for partition in range(log.partitions) if partition % processes == process]


def _end(log: Log, partition: int) -> int:
    bounds = log.bounds()
    return bounds[partition][1] if partition in bounds else 0
