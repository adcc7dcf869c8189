"""Addresses, headers and bodies made from events, by one query over the columns.

A value is escaped for where it stands: percent-encoded in an address, where it is part of one segment of the path and never
`..`; visible ASCII in a header; JSON in a body. So an event leads a request nowhere but below the text that stands before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import duckdb
import msgspec
import pyarrow as pa

from connectors.columns import literal, quoted
from connectors.sinks.field_sql import field_json
from connectors.sinks.http.texts import field_phrase, is_template
from connectors.sinks.name_templates import NOTHING
from connectors.sinks.phrase import Phrase, phrase

_LONGEST = 200  # characters of a value in a path
_LONGEST_QUERY = 2_000  # … in a query, or a header


class Templates:
    """What of the requests differs from event to event; belongs to one thread, as its engine does."""

    def __init__(self, url: str, headers: Mapping[str, str], body: Any) -> None:
        self._url = phrase(url)
        self._headers = {name: parsed for name, text in headers.items() if (parsed := field_phrase(text)) is not None}
        self._body = body
        self._engine = duckdb.connect(config={"threads": 1})
        self._engine.execute("SET TimeZone = 'UTC'")
        self._queries: dict[bytes, str] = {}

    @property
    def are_constant(self) -> bool:
        """Whether all events of a stream get the same address and headers, and no body is a template."""
        fields = [part for part in self._url.parts if not isinstance(part, str)]
        return self._body is None and not self._headers and set(fields) <= {("stream",)}

    def url(self, stream: str) -> str:
        """The address, where it is constant."""
        return "".join(part if isinstance(part, str) else quote(stream, safe="") for part in self._url.parts)

    def of(self, stream: str, rows: pa.Table) -> pa.Table:
        """`url`, the templated headers by their names (NULL: left out) and `document` (NULL: the row's own)."""
        key = rows.schema.serialize().to_pybytes() + stream.encode()
        if key not in self._queries:
            self._queries[key] = self._query(rows.schema, stream)
        self._engine.register("templated", rows)
        try:
            return self._engine.sql(self._queries[key]).to_arrow_table()
        finally:
            self._engine.unregister("templated")

    def close(self) -> None:
        """Lets go of the engine."""
        self._engine.close()

    def _query(self, schema: pa.Schema, stream: str) -> str:
        items = [f"{_url_sql(self._url, schema, stream)} AS url"]
        items += [f"{_header(text.sql(schema, stream))} AS {quoted(name)}" for name, text in self._headers.items()]
        body = "NULL::VARCHAR"
        if isinstance(self._body, str):
            body = (
                f"coalesce({phrase(self._body).sql(schema, stream)}, '')"
                if is_template(self._body)
                else literal(self._body)
            )
        elif self._body is not None:
            body = _json(self._body, schema, stream)
        return f"SELECT {', '.join(items)}, {body} AS document FROM templated"


def _url_sql(url: Phrase, schema: pa.Schema, stream: str) -> str:
    terms, in_query = [], False
    for part in url.parts:
        if isinstance(part, str):
            in_query = in_query or "?" in part
            terms.append(literal(part))
        else:
            value = Phrase((part,)).sql(schema, stream)
            if in_query:
                terms.append(f"coalesce(url_encode(left({value}, {_LONGEST_QUERY})), '')")
            else:
                # No value is, or makes with its neighbours, a segment of dots: those lead upwards.
                dotless = f"regexp_replace({value}, '^[.]|[.]$|[.][.]+', '_', 'g')"
                terms.append(f"coalesce(url_encode(left({dotless}, {_LONGEST})), '{NOTHING}')")
    return f"concat({', '.join(terms)})"


def _header(value: str) -> str:
    return f"nullif(trim(regexp_replace(left({value}, {_LONGEST_QUERY}), '[^\\x20-\\x7e]', '_', 'g')), '')"


def _json(body: Any, schema: pa.Schema, stream: str) -> str:
    """The expression of the JSON text of a body: a text that is one field and nothing else is that field, of its own type."""
    if isinstance(body, Mapping):
        members = [
            f"{literal(_plain(str(name)) + ':')} || {_json(item, schema, stream)}" for name, item in body.items()
        ]
        return _joined("{", members, "}")
    if isinstance(body, list):
        return _joined("[", [_json(item, schema, stream) for item in body], "]")
    if isinstance(body, str) and is_template(body):
        parsed = phrase(body)
        if len(parsed.parts) == 1 and not isinstance(parsed.parts[0], str):
            return f"coalesce({field_json(schema, parsed.parts[0], stream)}, 'null')"
        return f"to_json(coalesce({parsed.sql(schema, stream)}, ''))::VARCHAR"
    return literal(_plain(str.__str__(body) if isinstance(body, str) else body))


def _joined(begin: str, terms: list[str], end: str) -> str:
    return (
        f"'{begin}' || concat_ws(',', {', '.join(f'({term})' for term in terms)}) || '{end}'"
        if terms
        else f"'{begin}{end}'"
    )


def _plain(value: Any) -> str:
    return msgspec.json.encode(value).decode()
