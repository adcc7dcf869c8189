"""What a table of its own would hold of some rows, without one: for trying a pipeline out."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa

from connectors.sinks.conform import conformed
from connectors.sinks.evolve import evolve, for_tables, without_empty_structs
from connectors.sinks.settle import settle_json


def landed(batch: pa.Table, base: pa.Schema, engine: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The rows of `batch`, the first of a new table that begins as `base`: typed, rescued, in order."""
    schema = without_empty_structs(evolve(base, for_tables(settle_json(batch, base, engine))))
    rows: list[dict[str, Any]] = conformed(batch, schema, engine).to_pylist()
    return rows
