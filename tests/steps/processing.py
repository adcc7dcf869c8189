"""Events through a stream's pipeline, as the dataflow does it: lines in, rows out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from connectors.batch import LINES, StreamLines
from connectors.telemetry import EVENTS_DROPPED
from connectors.values import Secret
from flows.config import Stream
from flows.processor import StreamProcessor, open_pipeline_engine
from flows.steps import Step

STREAM_ID = "11111111-2222-4333-8444-555555555555"


def processed(
    steps: Sequence[Step], events: Sequence[dict[str, Any] | str], *, key: str | None = None, whole: bool = False
) -> list[dict[str, Any]]:
    """The rows for the lake; `events` are those under `event`, or `whole`."""
    texts = [json.dumps(event if whole else {"source": "s", "event": event}) for event in events]
    count = len(texts)
    table = pa.table(
        {
            "request_id": ["r"] * count,
            "index": list(range(count)),
            "received_at": [datetime(2024, 5, 1, tzinfo=UTC)] * count,
            "_offset": [0] * count,
            "line": texts,
        },
        schema=LINES,
    )
    secret = Secret(key) if key is not None else None
    processor = StreamProcessor("s", Stream(id=STREAM_ID, steps=tuple(steps), mask_key=secret), "lake", _engine())
    rows = processor.process(StreamLines("s", table, "\n".join(texts).encode()))
    return rows["lake"].to_pylist() if "lake" in rows else []


@cache
def _engine() -> duckdb.DuckDBPyConnection:
    return open_pipeline_engine()


def dropped(step: str) -> float:
    """How many events a step has dropped on purpose."""
    return EVENTS_DROPPED.labels("s", step, "true")._value.get()
