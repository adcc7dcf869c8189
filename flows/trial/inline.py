"""Runs the `tests:` of a stream through the pipeline that the dataflow runs, and into tables in memory."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa

from connectors.sinks import dead_letters
from connectors.sinks.delta import EVENTS
from connectors.sinks.in_memory import landed
from flows.config import DEFAULT_DESTINATION, Config, StreamTest, config_version
from flows.processor import StreamProcessor, open_pipeline_engine
from flows.stages import SET_ASIDE
from flows.trial.compare import Failure, compare
from flows.trial.lines import example_lines

__all__ = ["Failure", "Result", "run_test"]

RECEIVED_AT = 1_735_689_600_000_000
"""When a test's events are received, always: 2025-01-01T00:00:00Z, in microseconds."""


class Result(msgspec.Struct, frozen=True):
    """What became of one test. `line` and `column` are where it stands in `file`."""

    stream: str
    name: str
    file: str
    line: int
    column: int
    passed: bool
    failures: tuple[Failure, ...] = ()


def run_test(config: Config, stream: str, test: StreamTest, place: tuple[int, int]) -> Result:
    """Runs one test of the stream called `stream`; each begins with tables that have no column yet."""
    rows = _rows(config, stream, test)
    failures: list[Failure] = []
    for destination, expected in test.expect.items():
        if destination not in config.destinations and destination != dead_letters.NAME:
            failures.append(Failure(destination, message=f"there is no destination '{destination}'"))
        else:
            failures += compare(destination, expected, rows.get(destination, []))
    return Result(stream, test.name, str(config.file), *place, not failures, tuple(failures))


def _rows(config: Config, stream: str, test: StreamTest) -> dict[str, list[dict[str, Any]]]:
    """What each destination's table would hold."""
    if not test.input:
        return {}
    settings = config.streams[stream]
    default = DEFAULT_DESTINATION if DEFAULT_DESTINATION in config.destinations else None
    texts = [msgspec.json.encode(event).decode() for event in test.input]
    rows: dict[str, list[dict[str, Any]]] = {}
    with open_pipeline_engine() as engine:
        processor = StreamProcessor(stream, settings, default, engine)
        taken = processor.process(example_lines(settings.id, texts, RECEIVED_AT))
        letters = taken.pop(dead_letters.NAME, None)
        if letters is not None:
            rows[dead_letters.NAME] = _letters(config, stream, letters)
        aside = taken.pop(SET_ASIDE, None)
        if aside is not None:
            letters = dead_letters.of_events(
                aside, stage="parse", stream=stream, topic="", partition=0, config_version=config_version(config)
            )
            rows.setdefault(dead_letters.NAME, []).extend(letters.to_pylist())
        for destination, table in taken.items():
            kept = landed(table, EVENTS, engine)
            if settings.schema == "reject":
                refused = [row for row in kept if row["_rescued"] is not None]
                kept = [row for row in kept if row["_rescued"] is None]
                letter = {"stream": stream, "stage": "schema", "destination": destination}
                rows.setdefault(dead_letters.NAME, []).extend({**row, **letter} for row in refused)
            rows[destination] = kept
    return rows


def _letters(config: Config, stream: str, lines: pa.Table) -> list[dict[str, Any]]:
    letters = dead_letters.of_lines(
        lines,
        stage="parse",
        error="not an event",
        stream=stream,
        topic="",
        partition=0,
        config_version=config_version(config),
        payload=True,
    )
    rows: list[dict[str, Any]] = letters.to_pylist()
    return rows
