"""Rows as RFC 5424 messages: one SQL query makes the frames of a batch, so nothing is done event by event in Python.

A frame is what goes over TCP: the message's length in bytes, a space, the message (octet counting: RFC 6587, 3.4.1 and
RFC 5425, 4.3). A text that is not plain ASCII begins with the byte order mark that RFC 5424, 6.4 asks of UTF-8.
"""

from __future__ import annotations

import re
import socket

import pyarrow as pa

from connectors.columns import literal
from connectors.sinks.field_sql import RFC3339, instant
from connectors.sinks.phrase import phrase
from connectors.sinks.syslog import cef
from connectors.sinks.syslog.settings import FACILITIES, SEVERITIES, SyslogDestination

DOCUMENT = "_document"
"""The column of the row as JSON that the query reads beside those of the row."""

_BOM = "chr(65279)"
_CONTROLS = r"'[\x00-\x1f\x7f]'"


def frames_query(settings: SyslogDestination, schema: pa.Schema, stream: str, source: str) -> str:
    """The query over `source` (rows of `schema`, with `_document`): `frame` VARCHAR, `size` of the message in bytes."""
    body = {"json": DOCUMENT, "cef": cef.sql(settings.cef, schema, stream)}.get(settings.body)
    if body is None:
        body = f"coalesce({phrase(settings.message).sql(schema, stream)}, {DOCUMENT})"
    message = f"{_header(settings, schema, stream)} || ' ' || {_structured_data(settings, schema, stream)} || ' ' || "
    message += {"needed": f"if(regexp_matches(body, '[^\\x00-\\x7f]'), {_BOM}, '')", "always": _BOM, "never": "''"}[
        settings.bom
    ]
    return (
        f"SELECT strlen(message)::VARCHAR || ' ' || message AS frame, strlen(message) AS size"
        f" FROM (SELECT {message} || body AS message FROM (SELECT *, {body} AS body FROM {source}))"
    )


def _header(settings: SyslogDestination, schema: pa.Schema, stream: str) -> str:
    facilities = {name: number for number, name in enumerate(FACILITIES)}
    facility = _code(settings.facility, facilities, "user", schema, stream)
    severity = _code(settings.severity, SEVERITIES, "info", schema, stream)
    host = socket.gethostname() if settings.hostname is None else settings.hostname
    names = ((host, 255), (settings.app_name, 48), (settings.procid, 128), (settings.msgid, 32))  # RFC 5424, 6
    words = " || ' ' || ".join(_word(text, most, schema, stream) for text, most in names)
    time = f"coalesce(strftime({instant(schema)} AT TIME ZONE 'UTC', '{RFC3339}'), '-')"
    return f"'<' || ({facility} * 8 + {severity})::VARCHAR || '>1 ' || {time} || ' ' || {words}"


def _code(text: str, codes: dict[str, int], otherwise: str, schema: pa.Schema, stream: str) -> str:
    """The number that a text names, or is; that of `otherwise` where it is none."""
    known = codes | {str(number): number for number in codes.values()}
    parsed = phrase(text)
    if parsed.constant is not None:
        return str(known[parsed.constant])
    names = ", ".join(literal(name) for name in known)
    numbers = ", ".join(str(number) for number in known.values())
    found = f"list_position([{names}], lower({parsed.sql(schema, stream)}))"  # a CASE takes ten times as long to plan
    return f"coalesce([{numbers}][{found}], {known[otherwise]})"


def _word(text: str, most: int, schema: pa.Schema, stream: str) -> str:
    """A header field: printable ASCII without spaces, at most so long; '-' where there is nothing."""
    parsed = phrase(text.replace("{stream}", stream))
    if parsed.constant is not None:
        return literal(re.sub("[^!-~]", "_", parsed.constant)[:most] or "-")
    value = parsed.sql(schema, stream)
    return f"coalesce(left(regexp_replace({value}, '[^!-~]', '_', 'g'), {most}), '-')"


def _structured_data(settings: SyslogDestination, schema: pa.Schema, stream: str) -> str:
    texts = {"event_id": "{event_id}", **settings.structured_data}
    params = "".join(
        f" || coalesce({literal(f' {name}=')} || {_quoted(phrase(text).sql(schema, stream))}, '')"
        for name, text in texts.items()
    )
    start = literal(f'[{settings.sd_id} stream="{stream}"')  # a stream's name is letters, digits, '_' and '-'
    return f"{start}{params} || ']'"


def _quoted(value: str) -> str:
    """A PARAM-VALUE (RFC 5424, 6.3.3)."""
    clean = f"regexp_replace({value}, {_CONTROLS}, ' ', 'g')"
    for character in ("\\", '"', "]"):
        clean = f"replace({clean}, {literal(character)}, {literal(chr(92) + character)})"
    return f"'\"' || {clean} || '\"'"
