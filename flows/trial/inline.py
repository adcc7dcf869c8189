"""Runs the `tests:` of a stream through the pipeline that the dataflow runs, and into tables in memory."""

from __future__ import annotations

from typing import Any

import duckdb
import msgspec

from connectors.batch import StreamLines
from connectors.sinks import dead_letters
from connectors.sinks.base import Rows
from connectors.sinks.delta import EVENTS, ROLLUP
from connectors.sinks.in_memory import landed
from flows.bounds import bounded_trial
from flows.config import Config, StreamTest, config_version
from flows.letters import Letters
from flows.processor import StreamProcessor, open_pipeline_engine
from flows.redirected import asides_of
from flows.stateful.lanes import remembers
from flows.stateful.pipeline import Came, StatefulPipeline
from flows.trial.compare import Failure, compare
from flows.trial.lines import example_lines
from flows.trial.steps import somewhere_in

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
        named = destination.partition("/")[0]
        if named not in config.destinations and destination != dead_letters.NAME:
            failures.append(Failure(destination, message=f"there is no destination '{destination}'"))
        else:
            failures += compare(destination, expected, rows.get(destination, []))
    return Result(stream, test.name, str(config.file), *place, not failures, tuple(failures))


def _rows(config: Config, stream: str, test: StreamTest) -> dict[str, list[dict[str, Any]]]:
    """What each destination's table would hold."""
    if not test.input:
        return {}
    settings = config.streams[stream]
    default = config.default
    texts = [msgspec.json.encode(event).decode() for event in test.input]
    rows: dict[str, list[dict[str, Any]]] = {}
    with open_pipeline_engine() as engine:
        lines = example_lines(settings.id, texts, RECEIVED_AT)
        if remembers(settings):
            taken = _remembered(config, stream, default, lines, engine)
        else:
            taken = _at_once(config, stream, default, lines, engine)
        letters = taken.pop(dead_letters.NAME, [])
        if letters:
            rows[dead_letters.NAME] = [row for part in letters for row in part.table.to_pylist()]
        for destination, parts in taken.items():
            for part in parts:
                rolled_up = part.stream != stream
                key = f"{destination}/{part.stream.removeprefix(f'{stream}_')}" if rolled_up else destination
                kept = landed(part.table, ROLLUP if rolled_up else EVENTS, engine)
                if settings.schema == "reject" and not rolled_up:
                    refused = [row for row in kept if row["_rescued"] is not None]
                    kept = [row for row in kept if row["_rescued"] is None]
                    letter = {"stream": stream, "stage": "schema", "destination": destination}
                    rows.setdefault(dead_letters.NAME, []).extend({**row, **letter} for row in refused)
                rows.setdefault(key, []).extend(kept)
    return rows


def _at_once(
    config: Config, name: str, default: str | None, lines: StreamLines, engine: duckdb.DuckDBPyConnection
) -> dict[str, list[Rows]]:
    """What a pipeline without a memory gives; dead letters as they land."""
    with bounded_trial(lambda: somewhere_in(name)):
        taken = StreamProcessor(name, config.streams[name], default, engine).process(lines)
    asides = asides_of(taken)
    came = Came({destination: [Rows(name, table)] for destination, table in taken.items()}, asides)
    return _with_letters(config, name, came)


def _remembered(
    config: Config, name: str, default: str | None, lines: StreamLines, engine: duckdb.DuckDBPyConnection
) -> dict[str, list[Rows]]:
    """What a pipeline with a memory has given when all is over: nothing is held back for what could yet come."""
    pipeline = StatefulPipeline(name, config.streams[name], default, engine)
    with bounded_trial(lambda: somewhere_in(name)):
        came = pipeline.take(lines).joined(pipeline.finish())
    return _with_letters(config, name, came)


def _with_letters(config: Config, name: str, came: Came) -> dict[str, list[Rows]]:
    letters = [
        Letters(lambda partition: ("", partition), config_version(config)).of(name, aside) for aside in came.letters
    ]
    return came.rows | ({dead_letters.NAME: letters} if letters else {})
