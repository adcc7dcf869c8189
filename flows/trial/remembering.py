"""A pipeline with a memory, tried on a few events: all are taken, then all that is held comes out.

Its rows come in an order of their own and some not at all, so they are found again by `event_id`.
"""

from __future__ import annotations

from typing import Any

import duckdb
import msgspec

from connectors.batch import StreamLines
from connectors.sinks.conform import json_paths
from flows.config import Stream
from flows.routes import Route
from flows.stateful.pipeline import StatefulPipeline
from flows.steps import Filter, Step
from flows.trial.flat import flat

Fields = dict[str, Any]

_ALL = "all"
_UNMATCHED = ""  # no destination is called so


class Remembering:
    """Runs beginnings of the stream's pipeline over `lines`."""

    def __init__(self, name: str, stream: Stream, lines: StreamLines, engine: duckdb.DuckDBPyConnection) -> None:
        self._name = name
        self._stream = stream
        self._lines = lines
        self._engine = engine

    def fields(self, steps: tuple[Step, ...]) -> dict[str, Fields]:
        """The fields of each event that is still there after these steps, by its id and their dotted paths."""
        return self._run(steps, ())[_ALL]

    def kept(self, steps: tuple[Step, ...], where: str | None) -> frozenset[str]:
        """The events for which `where` holds after these steps."""
        condition = () if where is None else (Filter(where),)
        return frozenset(self._run((*steps, *condition), ())[_ALL])

    def destinations(self) -> dict[str, frozenset[str]]:
        """The events by destination; under the empty name those that no route takes."""
        return {name: frozenset(rows) for name, rows in self._run(self._stream.steps, self._stream.routes).items()}

    def _run(self, steps: tuple[Step, ...], routes: tuple[Route, ...]) -> dict[str, dict[str, Fields]]:
        stream = msgspec.structs.replace(self._stream, steps=steps, routes=routes, rollups=())
        pipeline = StatefulPipeline(self._name, stream, _UNMATCHED if routes else _ALL, self._engine)
        came = pipeline.take(self._lines).joined(pipeline.finish())
        found: dict[str, dict[str, Fields]] = {_ALL: {}}
        for destination, parts in came.rows.items():
            for part in parts:
                json = json_paths(part.table.schema)
                rows = part.table.to_pylist()
                found.setdefault(destination, {}).update({row["event_id"]: flat(row, json) for row in rows})
        return found


UNMATCHED = _UNMATCHED
