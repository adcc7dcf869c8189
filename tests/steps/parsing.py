"""Events through a stream's pipeline, as the dataflow runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from connectors.batch import LINES, StreamLines
from flows.config import Stream
from flows.processor import StreamProcessor, open_pipeline_engine
from flows.steps import Parse, Step

RECEIVED = 1_732_365_000_000_000  # 2024-11-23T12:30:00Z


def process(
    stream: Stream, *batches: Sequence[Mapping[str, Any]], received: int = RECEIVED
) -> dict[str, list[dict[str, Any]]]:
    """The rows by destination of the last of `batches`; the others came before it."""
    processor = StreamProcessor("s", stream, "lake", open_pipeline_engine())
    outcome: dict[str, pa.Table] = {}
    for events in batches:
        outcome = processor.process(lines_of(events, received))
    return {name: table.to_pylist() for name, table in outcome.items()}


def lines_of(events: Sequence[Mapping[str, Any]], received: int = RECEIVED) -> StreamLines:
    lines = [json.dumps(event) for event in events]
    count = len(lines)
    table = pa.table(
        {
            "request_id": ["r"] * count,
            "index": list(range(count)),
            "received_at": pa.array([received] * count).cast(pa.timestamp("us", "UTC")),
            "_offset": [0] * count,
            "line": lines,
        },
        schema=LINES,
    )
    return StreamLines("x", table, "\n".join(lines).encode())


def parsed(step: Parse, *texts: object, also: Sequence[Step] = (), types: Mapping[str, str] | None = None) -> list[Any]:
    """What is in `event` of each text at `event.message`, NULLs and the text itself left out."""
    stream = Stream(id="x", steps=(step, *also), types=dict(types or {}))
    rows = process(stream, [{"source": "a", "event": {"message": text}} for text in texts]).get("lake", [])
    return [
        _present({name: value for name, value in row["event"].items() if name != "message" or value != text})
        for row, text in zip(rows, texts, strict=True)
    ]


def _present(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _present(item) for name, item in value.items() if item is not None}
    return value
