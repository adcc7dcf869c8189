"""Which streams have a memory, where each of them runs, and how a lane is opened.

Such a stream runs whole in one process, which reads its events from every partition: windows are exact with no exchange
between processes. The process is chosen by the stream's id, so it changes only with the number of processes.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from connectors.log import Log
from connectors.logger import get_logger
from connectors.merging import MergedReader
from connectors.sinks import dead_letters
from connectors.sinks.settings import DeltaDestination
from connectors.sinks.there import letters_of as letters_there
from flows.bounds import Bounded, Journal, journals
from flows.config import DEFAULT_DESTINATION, Config, Stream
from flows.letters import letters_of
from flows.processor import open_pipeline_engine
from flows.stateful.lane import Lane
from flows.stateful.overlap import Overlap
from flows.stateful.pipeline import StatefulPipeline
from flows.stateful.store import Store, store_file
from flows.steps import has_memory

_log = get_logger()


def remembers(stream: Stream) -> bool:
    """Whether the stream has a step with a memory, or rollups."""
    return bool(stream.rollups) or any(has_memory(step) for step in stream.steps)


def stateful_streams(config: Config) -> dict[str, Stream]:
    """The streams with a memory, by name."""
    return {name: stream for name, stream in config.streams.items() if remembers(stream)}


def owned(streams: Mapping[str, Stream], process: int, processes: int) -> dict[str, Stream]:
    """Those of the streams that run in process `process` of the `processes` that have a share of the log."""
    return {name: stream for name, stream in streams.items() if zlib.crc32(stream.id.encode()) % processes == process}


def group_of(stream: str, group: str) -> str:
    """Under what name a stream with a memory publishes how far it has read, beside the pipeline's own `group`."""
    return f"{group}.{stream}"


def prepare_stores(config: Config, log: Log, group: str) -> None:
    """Settles what is read in lanes and what with the log's partitions, where a stream has got a memory or lost it.

    The one begins where the other ends, which is where the dataflow of `group` has come to. After a crash tables are past
    that, by how much they tell when they are handed rows. Every process calls this before it reads, so what it finds is
    still true; the first to come decides.
    """
    with_memory = stateful_streams(config)
    known = store_files(config.data, log.identity)
    changed = [name for name in with_memory if name not in known] + [name for name in known if name not in with_memory]
    for name in {*known, *with_memory}:
        if name not in changed and not _is_handed_over(known[name]):
            continue
        begin = log.committed(group) if name in known else _beginning(log, name, group)
        ends = _ends(log, with_memory[name].id) if name in with_memory else {}
        with closing(Store(store_file(config.data, log.identity, name), begin, ends)) as store:
            if name in with_memory:
                store.take_back(begin, ends)
            elif name in config.streams and store.may_hand_over():
                store.hand_over(begin)


def _ends(log: Log, stream: str) -> dict[int, int]:
    """Where the partitions that may hold events of the stream with this id end now."""
    bounds = log.bounds()
    return {partition: bounds[partition][1] for partition in log.partitions_of(stream) if partition in bounds}


def _beginning(log: Log, stream: str, group: str) -> dict[int, int]:
    """Where a stream without a store begins: not before what another host has read of it, which may have landed."""
    begin, elsewhere = log.committed(group), log.committed(group_of(stream, group))
    if elsewhere:
        _log.warning(
            "a stream's memory is not in this data directory, and begins anew; what it held comes with `headrace replay`",
            stream=stream,
        )
    return {p: max(begin.get(p, 0), elsewhere.get(p, 0)) for p in {*begin, *elsewhere}}


def _is_handed_over(file: Path) -> bool:
    with closing(Store(file)) as store:
        return store.handover is not None


def lanes_of(config: Config, log: Log) -> dict[str, Stream]:
    """The streams that have a lane, by name: those with a memory, and those that lost it and have not all handed on."""
    handed_over = [name for name in store_files(config.data, log.identity) if name in config.streams]
    return {name: config.streams[name] for name in {**stateful_streams(config), **dict.fromkeys(handed_over)}}


def read_elsewhere(config: Config, log: Log) -> dict[str, dict[int, int] | None]:
    """By stream id, up to which offset of each partition its lane reads; None: for ever."""
    found: dict[str, dict[int, int] | None] = {}
    for name, stream in lanes_of(config, log).items():
        with closing(Store(store_file(config.data, log.identity, name))) as store:
            found[stream.id] = store.handover
    return found


def open_lane(config: Config, name: str, log: Log, group: str, version: str) -> Lane:
    """The lane of the stream called `name`; dead letters name the configuration by `version`.

    Raises HeadraceError where its store cannot be read.
    """
    stream = config.streams[name]
    store = Store(store_file(config.data, log.identity, name))
    window = round(stream.dedupe_window.total_seconds() * 1e6)
    reader = MergedReader(log, stream.id, name, store.positions, window, group_of(name, group), store.handover)
    default = DEFAULT_DESTINATION if DEFAULT_DESTINATION in config.destinations else None
    bounded = Bounded(Journal(journals(config.data, log.identity) / f"{stream.id}.json"))
    pipeline = StatefulPipeline(name, stream, default, open_pipeline_engine(), bounded)
    kept = DeltaDestination(uri=str(config.data / dead_letters.NAME), partition_by=())
    overlap = Overlap(store.overlap, lambda: letters_there(kept, name))
    return Lane(name, store, reader, pipeline, letters_of(config.streams, log.place, version), bounded, overlap)


def store_files(data: Path, log_identity: str) -> dict[str, Path]:
    """The stores that there are, by stream."""
    directory = store_file(data, log_identity, "x").parent
    return {file.stem: file for file in sorted(directory.glob("*.db"))}
