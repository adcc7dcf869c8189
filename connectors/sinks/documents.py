"""Rows as JSON documents, for destinations that take those: one text a row, made by one query over the columns."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import pyarrow as pa

from connectors.columns import literal, quoted
from connectors.sinks.conform import EXTRA, RESCUED, json_paths
from connectors.sinks.json_text import json_text, object_text

EVENT_ID = "event_id"
TIME = "_time"
_OWN = {"_offset", "_partition", "_row", "date"}
_PARTS = ("timestamp", "source", "event", "metadata")


class Documents:
    """Makes documents; belongs to one thread, as its engine does. Queries are compiled once a schema.

    Without `parts` a document has all that a row of the stream's table has but `date`: `_rescued` is a text there too.
    """

    def __init__(self, *, constants: Mapping[str, str] | None = None, time_as: str | None = None) -> None:
        """`constants` are members of every document; `time_as` names one that has the row's time."""
        self._constants = dict(constants or {})
        self._time_as = time_as
        self._engine = duckdb.connect(config={"threads": 1})
        self._engine.execute("SET TimeZone = 'UTC'")
        self._queries: dict[bytes, str] = {}

    def of(self, stream: str, rows: pa.Table) -> pa.Table:
        """`event_id`, `_time` (RFC 3339, microseconds), `document` (JSON text), in the order of `rows`.

        The time of a rollup's row is its window's start, and its identity a hash of the row: it has none of its own.
        """
        key = rows.schema.serialize().to_pybytes() + stream.encode()
        if key not in self._queries:
            self._queries[key] = self._query(stream, rows.schema)
        self._engine.register("sending", rows)
        try:
            return self._engine.sql(self._queries[key]).to_arrow_table()
        finally:
            self._engine.unregister("sending")

    def close(self) -> None:
        """Lets go of the engine."""
        self._engine.close()

    def _query(self, stream: str, schema: pa.Schema) -> str:
        json = json_paths(schema)
        texts = {
            field.name: json_text(field.type, quoted(field.name), (field.name,), json)
            for field in schema
            if field.name not in _OWN and field.name != EXTRA
        }
        time = texts.get("timestamp", texts.get("window_start", "NULL::VARCHAR"))
        members = [(name, literal(f'"{value}"')) for name, value in self._constants.items()]
        if self._time_as:
            members.append((self._time_as, time))
        members += [*texts.items(), ("stream", f"to_json({literal(stream)})::VARCHAR")]
        if EXTRA in schema.names:
            members.append((RESCUED, f"to_json('{{' || {EXTRA} || '}}')::VARCHAR"))
        identity = EVENT_ID if EVENT_ID in schema.names else "sha256(document)"
        return (
            f"SELECT {identity} AS {EVENT_ID}, {TIME}, document FROM"
            f" (SELECT *, trim({time}, '\"') AS {TIME}, {object_text(members)} AS document FROM sending)"
        )


def payload_query(schema: pa.Schema, source: str) -> str:
    """The query over `source` for its rows as they would be sent in anew: what a dead letter keeps of them.

    Its columns are those of `source` and `payload`; of a rollup's row the payload is the whole row.
    """
    json = json_paths(schema)
    names = [name for name in _PARTS if name in schema.names]
    if "event" not in names:
        names = [name for name in schema.names if name not in _OWN]
    members = [
        (name, json_text(schema.field(name).type, quoted(name), (name,), json)) for name in names if name != EXTRA
    ]
    if EXTRA in schema.names:
        members.append((RESCUED, f"'{{' || {EXTRA} || '}}'"))
    return f"SELECT *, {object_text(members)} AS payload FROM {source}"
