"""Which streams have a memory, where each of them runs, and how a lane is opened.

Such a stream runs whole in one process, which reads its events from every partition: windows are exact with no exchange
between processes. The process is chosen by the stream's id, so it changes only with the number of processes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from connectors.errors import ConfigError
from connectors.log import Log
from connectors.logger import get_logger
from connectors.merging import MergedReader
from connectors.sinks import dead_letters
from connectors.sinks.settings import DeltaDestination
from connectors.sinks.there import letters_of as letters_there
from flows.bounds import Bounded, Journal, journals
from flows.config import Config, Stream
from flows.kept import Kept, revived, to_keep
from flows.letters import letters_of
from flows.lookups.table import LookupFailed
from flows.lookups.watched import watch
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


def owned(lanes: Mapping[str, Kept], process: int, processes: int) -> dict[str, Kept]:
    """Those of the lanes that run in process `process` of the `processes` that have a share of the log."""
    return {name: kept for name, kept in lanes.items() if zlib.crc32(kept.stream.id.encode()) % processes == process}


def group_of(stream: str, group: str) -> str:
    """Under what name a stream with a memory publishes how far it has read, beside the pipeline's own `group`."""
    return f"{group}.{stream}"


def prepare_stores(config: Config, log: Log, group: str, handed: Callable[[int], int | None]) -> None:
    """Settles what is read in lanes and what with the log's partitions, where a stream has got a memory or lost it.

    The one begins where the other ends, which is where the dataflow of `group` has come to. After a crash tables are past
    that, by how much they tell when they are handed rows; past what `handed` gives of a partition they have nothing. A
    stream that the configuration names no more has lost its memory too. Every process calls this before it reads, so what
    it finds is still true; the first to come decides.
    """
    with_memory = stateful_streams(config)
    known = store_files(config.data, log.identity)
    under_another_name: dict[str, Mapping[int, int]] = {}
    for name in known.keys() - with_memory.keys():
        with closing(Store(known[name])) as store:
            if store.handover is None and (store.may_hand_over() if name in config.streams else store.kept):
                store.hand_over(log.committed(group))
            if store.kept:
                under_another_name[store.kept.stream.id] = store.handover or {}
    for name, stream in with_memory.items():
        if name in known and not _is_handed_over(known[name]):
            continue
        begin = log.committed(group) if name in known else _beginning(log, name, group)
        before = under_another_name.get(stream.id, {})
        begin = {p: max(begin.get(p, 0), before.get(p, 0)) for p in {*begin, *before}}
        ends = {p: end if (at := handed(p)) is None else min(at, end) for p, end in _ends(log, stream.id).items()}
        with closing(Store(store_file(config.data, log.identity, name), begin, ends)) as store:
            store.take_back(begin, ends)


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


def lanes_of(config: Config, log: Log, version: str) -> dict[str, Kept]:
    """The streams that have a lane, by name: those with a memory, and those that lost it and have not all handed on.

    A stream that the configuration, whose name is `version`, has no more is as it was kept.
    """
    found = {name: Kept(stream, config.default, version) for name, stream in stateful_streams(config).items()}
    for name, file in store_files(config.data, log.identity).items():
        if name in found:
            continue
        with closing(Store(file)) as store:
            if store.is_done:
                continue
            kept = Kept(config.streams[name], config.default, version) if name in config.streams else _gone(name, store)
        if kept is not None:
            found[name] = kept
    return found


def _gone(name: str, store: Store) -> Kept | None:
    """A stream that the configuration has no more; None, and it is said, where what it still held cannot go on."""
    kept = store.kept
    if kept is None:
        return None
    try:
        for named in kept.stream.lookups.items():
            watch(*named)
        return msgspec.structs.replace(kept, stream=revived(kept.stream))
    except (ConfigError, LookupFailed) as exc:
        what = "a stream was taken out, and what it still held waits until it is named again, or can be read"
        _log.error(what, stream=name, reason=str(exc))
        return None


def taken_out(config: Config, log: Log) -> dict[str, Stream]:
    """The streams with a memory that the configuration has no more, and that may still hold something, by name."""
    found = {}
    for name, file in store_files(config.data, log.identity).items():
        if name not in config.streams:
            with closing(Store(file)) as store:
                if store.kept is not None and not store.is_done:
                    found[name] = store.kept.stream
    return found


def read_elsewhere(config: Config, log: Log) -> dict[str, dict[int, int] | None]:
    """By stream id, up to which offset of each partition its lane reads, or has read; None: for ever."""
    found: dict[str, dict[int, int] | None] = {}
    named = stateful_streams(config)
    for name, file in store_files(config.data, log.identity).items():
        with closing(Store(file)) as store:
            stream = config.streams.get(name) or (store.kept.stream if store.kept else None)
            if stream is not None:
                found[stream.id] = store.handover
    return found | {stream.id: None for stream in named.values()}


def open_lane(config: Config, name: str, kept: Kept, log: Log, group: str) -> Lane:
    """The lane of the stream called `name`, which is as `kept` says.

    Raises HeadraceError where its store cannot be read.
    """
    stream = kept.stream
    store = Store(store_file(config.data, log.identity, name))
    if name in config.streams:
        store.keep(msgspec.structs.replace(kept, stream=to_keep(stream)))
    window = round(stream.dedupe_window.total_seconds() * 1e6)
    group = group_of(name, group)
    reader = MergedReader(log, stream.id, name, store.positions, window, group, store.handover, store.others)
    bounded = Bounded(Journal(journals(config.data, log.identity) / f"{stream.id}.json"))
    pipeline = StatefulPipeline(name, stream, kept.default, open_pipeline_engine(), bounded)
    table = DeltaDestination(uri=str(config.data / dead_letters.NAME), partition_by=())
    overlap = Overlap(store.overlap, lambda: letters_there(table, name))
    letters = letters_of({name: stream}, log.place, kept.version)
    return Lane(name, store, reader, pipeline, letters, bounded, overlap)


def store_files(data: Path, log_identity: str) -> dict[str, Path]:
    """The stores that there are, by stream."""
    directory = store_file(data, log_identity, "x").parent
    return {file.stem: file for file in sorted(directory.glob("*.db"))}
