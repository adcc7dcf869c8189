"""The distinct structures of JSON lines, from which a shape is learned, listed by a query that is planned once an engine."""

from __future__ import annotations

from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from connectors.batch import LINES
from flows.queries import Queries

_LINE = pa.schema([LINES.field("line")])


class Structures:
    """Lists them on `engine` (a `flows.shape.Listed`). Belongs to the thread that the connection belongs to."""

    def __init__(self, engine: duckdb.DuckDBPyConnection) -> None:
        self._queries = Queries(engine, _LINE)

    def __call__(self, lines: pa.ChunkedArray) -> list[Any]:
        """The structures of the lines (string), as `json_structure` tells them, in an order of their own."""
        # NULL for what is nested deeper than the parser describes: the check then leaves such fields to `_extra`.
        query = (
            f"SELECT DISTINCT TRY(json_structure(line))::VARCHAR AS s FROM {self._queries.source} WHERE s IS NOT NULL"
        )
        self._queries.put(pa.table([lines], _LINE))
        try:
            found = self._queries.run(query)
        finally:
            self._queries.clear()
        return [msgspec.json.decode(text) for text in sorted(found.column("s").to_pylist())]
