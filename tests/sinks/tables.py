"""What the tests of tables share: events as a log holds them, a process that writes them, a table read back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from connectors.batch import batch_of
from connectors.log import Block
from connectors.record import Record
from connectors.sinks.base import Rows
from connectors.sinks.delta import DeltaWriter
from connectors.sinks.rejects import DeadLetters
from connectors.sinks.settings import DeltaDestination
from flows.config import Stream
from flows.processor import StreamProcessor, open_pipeline_engine

STREAM_ID = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"
STREAM = "payments"
RECEIVED_AT = 1_739_370_735_000_000  # 2025-02-12T14:32:15Z

_engine = open_pipeline_engine()


class Dataflow:
    """One process's way from a partition's records to a table: it starts knowing nothing, as after a restart."""

    def __init__(
        self,
        lake: Path | str | DeltaDestination,
        *,
        log: str = "log-1",
        types: dict[str, str] | None = None,
        schema: str = "evolve",
        writer: Any = None,
        **more: Any,
    ) -> None:
        settings = lake if isinstance(lake, DeltaDestination) else DeltaDestination(uri=f"{lake}/{{stream}}")
        self._processor = StreamProcessor(STREAM, Stream(id=STREAM_ID, types=types or {}), "lake", _engine)
        self.writer = writer or DeltaWriter(settings, log, schemas={STREAM: schema}, **more)
        self._offsets: dict[int, count[int]] = {}

    def stage(self, events: Sequence[Any], *, partition: int = 0, offset: int | None = None) -> list[str]:
        """Hands over one record of `events` (objects, or JSON texts); the event ids they get."""
        offsets = self._offsets.setdefault(partition, count())
        at = next(offsets) if offset is None else offset
        lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
        request = f"01890a5d-ac96-774b-8{partition:03x}-{at:012x}"
        record = Record(STREAM_ID, request, RECEIVED_AT, len(lines), "\n".join(lines).encode())
        for part in batch_of(Block(partition, [at], [record], at + 1)).streams:
            rows = self._processor.process(part).get("lake")
            self.writer.stage(partition, [] if rows is None else [Rows(STREAM, rows)], at + 1)
        return [f"{request}-{index}" for index in range(len(lines))]

    def commit(self) -> None:
        self.writer.commit(everything=True)

    def take(self, events: Sequence[Any], *, partition: int = 0, offset: int | None = None) -> list[str]:
        ids = self.stage(events, partition=partition, offset=offset)
        self.commit()
        return ids


def dead_letters_below(directory: Path) -> DeadLetters:
    """The dead letters of strict schemas, in `directory`/dlq, as one process has them."""
    table = DeltaDestination(uri=f"{directory}/dlq/{{stream}}")
    return DeadLetters(table, "log-1", lambda partition: ("events", partition), "v1")


def read_table(uri: str | Path, options: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """All rows of a table, as deltalake's own reader gives them."""
    table = DeltaTable(str(uri), storage_options=options)
    batches = QueryBuilder().register("t", table).execute("SELECT * FROM t").read_all()
    return pa.table(batches).to_pylist()  # type: ignore[no-any-return]


def rescued(row: dict[str, Any]) -> dict[str, Any]:
    """The members of `_rescued`; a name twice is an error."""

    def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        pairs = list(pairs)
        assert len(dict(pairs)) == len(pairs), f"a path twice in _rescued: {row['_rescued']}"
        return dict(pairs)

    return {} if row["_rescued"] is None else _outer(row["_rescued"], unique)


def _outer(text: str, unique: Any) -> dict[str, Any]:
    found = json.loads(text, object_pairs_hook=unique)
    assert isinstance(found, dict)
    return found
