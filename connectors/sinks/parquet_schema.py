"""The columns that all Parquet files of a stream share: a column has one type in every file, for good.

Each version of the schema is a file `_headrace_schema/<number>.json` (the JSON form of Spark and Delta), made once by
whoever is first: processes that want to add columns at the same time add them one after the other. Readers pass over
names that begin with `_`.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa
from deltalake import Schema

from connectors.sinks.evolve import plain_schema
from connectors.sinks.fitted import Fitting
from connectors.sinks.store import Store

_DIRECTORY = "_headrace_schema"


class AgreedSchema:
    """The schema of one stream's files; `base` is the one before the first event."""

    def __init__(self, store: Store, base: pa.Schema) -> None:
        self._store = store
        self._schema = base
        self._version: int | None = None

    def taking(self, batches: Sequence[pa.Table], fitting: Fitting, engine: duckdb.DuckDBPyConnection) -> pa.Schema:
        """The schema with the columns of the batches, agreed with every other process. Raises Transient."""
        if self._version is None:
            self._read()
        while True:
            assert self._version is not None
            schema = fitting.grown(self._schema, batches, engine, new=self._version == 0)
            if self._version and schema == self._schema:
                return schema
            name = f"{_DIRECTORY}/{self._version + 1:020d}.json"
            if self._store.create(name, Schema.from_arrow(schema).to_json().encode()):
                self._schema, self._version = schema, self._version + 1
                return schema
            self._read()

    def _read(self) -> None:
        versions = [int(name[:20]) for name in self._store.names(_DIRECTORY) if name[:20].isdigit()]
        self._version = max(versions, default=0)
        if self._version:
            text = self._store.read(f"{_DIRECTORY}/{self._version:020d}.json").decode()
            self._schema = plain_schema(pa.schema(Schema.from_json(text).to_arrow()))
