"""The frames of a batch of rows, and which rows make none because their message would be too long."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from connectors.sinks.connection import Refusal
from connectors.sinks.documents import EVENT_ID, Documents
from connectors.sinks.joined import joined
from connectors.sinks.syslog.message import DOCUMENT, frames_query
from connectors.sinks.syslog.settings import SyslogDestination


class Frames:
    """Makes frames; belongs to one thread, as its engine does. Queries are compiled once a schema."""

    def __init__(self, settings: SyslogDestination) -> None:
        self._settings = settings
        self._documents = Documents()
        self._engine = duckdb.connect(config={"threads": 1})
        self._engine.execute("SET TimeZone = 'UTC'")
        self._queries: dict[bytes, str] = {}

    def of(self, stream: str, rows: pa.Table) -> tuple[memoryview, int, list[Refusal]]:
        """(the frames one after the other, how many, the rows that are too long)."""
        documents = self._documents.of(stream, rows)
        rows = rows.append_column(DOCUMENT, documents["document"])
        if EVENT_ID not in rows.column_names:  # a rollup's
            rows = rows.append_column(EVENT_ID, documents[EVENT_ID])
        key = rows.schema.serialize().to_pybytes() + stream.encode()
        if key not in self._queries:
            self._queries[key] = frames_query(self._settings, rows.schema, stream, "sending")
        self._engine.register("sending", rows)
        try:
            made = self._engine.sql(self._queries[key]).to_arrow_table()
        finally:
            self._engine.unregister("sending")
        fits = pc.less_equal(made["size"], self._settings.max_bytes)
        refusals = [
            Refusal(row, _too_long(made["size"][row].as_py(), self._settings.max_bytes))
            for row in pc.indices_nonzero(pc.invert(fits)).to_pylist()
        ]
        return joined(made["frame"].filter(fits)), rows.num_rows - len(refusals), refusals

    def close(self) -> None:
        """Lets go of the engines."""
        self._documents.close()
        self._engine.close()


def _too_long(size: int, most: int) -> str:
    return f"its message has {size} bytes and max_bytes is {most}; raise max_bytes to what the server takes whole"
