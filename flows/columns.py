"""The columns a pipeline works on: one flat column a leaf path, whatever the nesting of the events.

Steps read and write leaves (`event.http.status`), so the compiler keeps events flat from the parse to the last step
and builds the structs of the table once, at the end. A leaf's type is a DuckDB type: BIGINT, DOUBLE, VARCHAR, BOOLEAN,
DECIMAL(p,s), TIMESTAMP WITH TIME ZONE, DATE, a list of these or of structs, or JSON where the events disagree about the
kind of the value (then the column holds the value's JSON text).
"""

from __future__ import annotations

from collections.abc import Mapping

from connectors.columns import UNQUOTED, Path, dotted, literal, quoted

__all__ = [
    "EVENT_ID",
    "EXTRA",
    "EXTRA_TYPE",
    "LATE",
    "NO_EXTRA",
    "OFFSET",
    "RECEIVED_AT",
    "SAMPLE_RATE",
    "SOURCE",
    "STREAM",
    "SYSTEM",
    "TIMESTAMP",
    "TIMESTAMP_TYPE",
    "UNQUOTED",
    "Columns",
    "Path",
    "column",
    "dotted",
    "literal",
    "quoted",
]

Columns = Mapping[Path, str]

EVENT_ID: Path = ("event_id",)
TIMESTAMP: Path = ("timestamp",)
RECEIVED_AT: Path = ("received_at",)
SOURCE: Path = ("source",)
STREAM: Path = ("stream",)
OFFSET: Path = ("_offset",)
LATE: Path = ("_late",)  # BOOLEAN; a pipeline without a window has no such column, and no late event
EXTRA: Path = ("_extra",)
SAMPLE_RATE: Path = ("_sample_rate",)

TIMESTAMP_TYPE = "TIMESTAMP WITH TIME ZONE"
EXTRA_TYPE = "MAP(VARCHAR, JSON)"
NO_EXTRA = '"NULL"'
"""The type of `_extra` where it is known to be NULL in every row, as for most shapes: whatever works on it is left out."""

SYSTEM: dict[Path, str] = {
    EVENT_ID: "VARCHAR",
    TIMESTAMP: TIMESTAMP_TYPE,
    RECEIVED_AT: TIMESTAMP_TYPE,
    SOURCE: "VARCHAR",
    STREAM: "VARCHAR",  # the stream's name
    OFFSET: "BIGINT",  # the log offset of the event's record: a destination skips what it already has
    SAMPLE_RATE: "DOUBLE",  # the share of events like this one that is kept; 1.0 until a step drops some
    EXTRA: EXTRA_TYPE,  # by dotted path, what no typed column can carry; it lands in `_rescued`. NULL for most events
}
"""Columns every event has, beside the leaves under `event` and `metadata`."""


def column(path: Path) -> str:
    """The SQL identifier of a leaf's column: its dotted path, quoted."""
    return quoted(dotted(path))
