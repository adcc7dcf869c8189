"""What the tests of destinations that are sent to share: rows as a pipeline makes them, and waiting for the floor."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from connectors.batch import batch_of
from connectors.log import Block
from connectors.record import Record
from connectors.sinks.base import Rows
from connectors.sinks.batching import Batching
from connectors.sinks.push import PushWriter
from connectors.sinks.refusals import Refusals
from connectors.sinks.settings import DeltaDestination
from flows.config import Stream
from flows.processor import StreamProcessor, open_pipeline_engine
from tests.flows.pipelines import until
from tests.sinks.tables import RECEIVED_AT, STREAM, STREAM_ID, read_table

_engine = open_pipeline_engine()


def event(n: int, **more: Any) -> dict[str, Any]:
    return {"source": "app", "timestamp": "2025-02-12T14:32:15.5Z", "event": {"n": n, **more}}


def rows_of(*records: Sequence[dict[str, Any]], partition: int = 0, first: int = 0) -> pa.Table:
    """The rows of some records, each a list of events, at offsets from `first` on."""
    offsets = list(range(first, first + len(records)))
    block = []
    for offset, events in zip(offsets, records, strict=True):
        request = f"01890a5d-ac96-774b-8{partition:03x}-{offset:012x}"
        value = "\n".join(json.dumps(event) for event in events).encode()
        block.append(Record(STREAM_ID, request, RECEIVED_AT, len(events), value))
    processor = StreamProcessor(STREAM, Stream(id=STREAM_ID), "lake", _engine)
    [part] = batch_of(Block(partition, offsets, block, first + len(records))).streams
    return processor.process(part)["lake"]


class Sending:
    """One process's way to a destination: it starts knowing nothing, as after a restart."""

    def __init__(self, endpoint: Any, directory: Path, batching: Batching | None = None, *, name: str = "out") -> None:
        self.letters = directory / "dead_letters"
        letters = DeltaDestination(uri=str(self.letters), partition_by=())
        refusals = Refusals(letters, "log-1", lambda partition: ("events", partition), "v1", name)
        self.writer = PushWriter(endpoint, name, refusals, batching)

    def hand_over(self, rows: pa.Table, *, partition: int = 0, stream: str = STREAM) -> int:
        """Stages rows as one batch of the log; the next offset."""
        end = int(rows.column("_offset")[-1].as_py()) + 1
        self.writer.stage(partition, [Rows(stream, rows)], end)
        return end

    def deliver(self, rows: pa.Table, *, partition: int = 0, seconds: float = 60) -> None:
        """Stages rows and returns once the floor has passed them."""
        end = self.hand_over(rows, partition=partition)
        self.writer.commit(everything=True)
        until(lambda: self.writer.floor(partition) == end, seconds, what=f"floor {end} ({self.writer.trouble})")

    def dead(self) -> list[dict[str, Any]]:
        """The dead letters, by offset and index."""
        if not (self.letters / "_delta_log").exists():
            return []
        return sorted(read_table(self.letters), key=lambda row: (row["partition"], row["offset"], row["index"]))


def ids(rows: pa.Table) -> list[str]:
    return list(rows.column("event_id").to_pylist())


def settled(condition: Callable[[], bool], what: str) -> None:
    until(condition, 60, what=what)
