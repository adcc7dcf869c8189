"""The body of a message in ArcSight's Common Event Format (CEF, revision 25), as SQL."""

from __future__ import annotations

import pyarrow as pa

from connectors.columns import literal
from connectors.sinks.field_sql import instant
from connectors.sinks.phrase import phrase
from connectors.sinks.syslog.settings import Cef

_SEVERITY = r"'(?:[0-9]|10|Unknown|Low|Medium|High|Very-High)'"


def sql(settings: Cef, schema: pa.Schema, stream: str) -> str:
    """The expression over rows of `schema`, with `_document`: the message.

    A header field has no line breaks (each is a space); a severity that CEF has not is `Unknown`.
    """
    names = (settings.vendor, settings.product, settings.version, settings.event_class, settings.name)
    header = " || '|' || ".join(_header(phrase(text).sql(schema, stream)) for text in names)
    given = f"coalesce({phrase(settings.severity).sql(schema, stream)}, 'Unknown')"
    severity = f"if(regexp_full_match({given}, {_SEVERITY}), {given}, 'Unknown')"
    values = {
        "rt": f"epoch_ms({instant(schema)})::VARCHAR",
        "externalId": phrase("{event_id}").sql(schema, stream),
        **{name: phrase(text).sql(schema, stream) for name, text in settings.extensions.items()},
    }
    if not settings.extensions:
        values["msg"] = "_document"
    pairs = ", ".join(f"{literal(name + '=')} || {_value(value)}" for name, value in values.items())
    return f"'CEF:0|' || {header} || '|' || {severity} || '|' || concat_ws(' ', {pairs})"


def _header(value: str) -> str:
    escaped = f"replace(replace(coalesce({value}, ''), '\\', '\\\\'), '|', '\\|')"
    return f"regexp_replace({escaped}, '[\\r\\n]+', ' ', 'g')"


def _value(value: str) -> str:
    escaped = f"replace(replace({value}, '\\', '\\\\'), '=', '\\=')"
    return f"replace(replace({escaped}, chr(13), '\\r'), chr(10), '\\n')"
