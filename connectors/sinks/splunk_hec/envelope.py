"""Rows as the events of a collector: one SQL query makes the JSON objects of a batch, each a line."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from connectors.columns import literal
from connectors.sinks.documents import EVENT_ID, Documents
from connectors.sinks.field_sql import instant
from connectors.sinks.json_text import object_text
from connectors.sinks.name_templates import NOTHING
from connectors.sinks.phrase import Phrase, phrase
from connectors.sinks.splunk_hec.settings import SplunkHecDestination

_DOCUMENT = "_document"


class Envelopes:
    """Makes events; belongs to one thread, as its engine does. Queries are compiled once a schema."""

    def __init__(self, settings: SplunkHecDestination) -> None:
        self._settings = settings
        self._documents = Documents()
        self._engine = duckdb.connect(config={"threads": 1})
        self._engine.execute("SET TimeZone = 'UTC'")
        self._queries: dict[bytes, str] = {}

    def of(self, stream: str, rows: pa.Table) -> pa.ChunkedArray:
        """The events of `rows`, in their order: JSON texts that end in a line break."""
        documents = self._documents.of(stream, rows)
        rows = rows.append_column(_DOCUMENT, documents["document"])
        if EVENT_ID not in rows.column_names:  # a rollup's
            rows = rows.append_column(EVENT_ID, documents[EVENT_ID])
        key = rows.schema.serialize().to_pybytes() + stream.encode()
        if key not in self._queries:
            self._queries[key] = envelope_query(self._settings, rows.schema, stream, "sending")
        self._engine.register("sending", rows)
        try:
            return self._engine.sql(self._queries[key]).to_arrow_table()["envelope"]
        finally:
            self._engine.unregister("sending")

    def close(self) -> None:
        """Lets go of the engines."""
        self._documents.close()
        self._engine.close()


_PART_LONGEST = 40  # characters of a value in the name of an index: Splunk takes 80 in all


def envelope_query(settings: SplunkHecDestination, schema: pa.Schema, stream: str, source: str) -> str:
    """The query over `source` (rows of `schema`, with `_document`) for `envelope` VARCHAR."""
    texts = {name: getattr(settings, name) for name in ("host", "source", "sourcetype", "index")}
    members = [("time", _seconds(instant(schema)))]
    members += [
        (name, _index(text, schema, stream) if name == "index" else _json(text, schema, stream))
        for name, text in texts.items()
        if text
    ]
    members.append(("event", _DOCUMENT))
    fields = {"event_id": "{event_id}", "stream": "{stream}", **settings.fields}
    members.append(("fields", object_text([(name, _json(text, schema, stream)) for name, text in fields.items()])))
    return f"SELECT {object_text(members)} || {literal(chr(10))} AS envelope FROM {source}"


def _json(text: str, schema: pa.Schema, stream: str) -> str:
    return f"to_json({phrase(text).sql(schema, stream)})::VARCHAR"


def _index(text: str, schema: pa.Schema, stream: str) -> str:
    """As `_json`; what an event says in the name of an index has no character but those that such names have."""
    terms = []
    for part in phrase(text).parts:
        if isinstance(part, str):
            terms.append(literal(part))
        else:
            value = f"lower(left({Phrase((part,)).sql(schema, stream)}, {_PART_LONGEST}))"
            terms.append(f"coalesce(regexp_replace({value}, '[^a-z0-9_-]', '_', 'g'), {literal(NOTHING)})")
    return f"to_json(concat({', '.join(terms)}))::VARCHAR"


def _seconds(time: str) -> str:
    """Seconds since 1970 with six digits: exact, where a double would not be for ever."""
    whole = f"abs(epoch_us({time}))"
    sign = f"if(epoch_us({time}) < 0, '-', '')"
    return f"{sign} || ({whole} // 1000000)::VARCHAR || '.' || lpad(({whole} % 1000000)::VARCHAR, 6, '0')"
