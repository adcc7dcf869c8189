"""`parse`: reads the text of a field as what it is, and puts its parts beside it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from flows.columns import Path
from flows.kinds import FieldPath
from flows.steps.targets import parse_path

Kind = Literal[
    "json", "logfmt", "kv", "csv", "regex", "grok", "syslog", "cef", "url", "query_string", "user_agent", "timestamp"
]

LEARNED = frozenset({"json", "logfmt", "kv", "cef", "query_string"})
"""Kinds whose fields are known only from the texts: their shape is learned, as that of the events is."""


class Parse(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Reads the text at `field` as `as` says, and writes what it finds below `into`.

    `into` is the object that `field` is in, unless given (for a `timestamp`: the field itself). A part that is found
    replaces what was there; a part that is not leaves it. An event without the field passes untouched. Where the text
    cannot be read the event is kept as it is, dropped, or set aside as a dead letter (`on_error`).

    Of the kinds, `regex` and `grok` need a `pattern`; `grok` knows Logstash's names, those for products too
    (`%{HAPROXYHTTP}`, `%{S3_ACCESS_LOG}`, …), with the captures of ECS where `ecs_compatibility` is `v1`, and your own
    `patterns` before them. `csv` needs `columns`: a name, or `name:int` to read
    a type (`int`, `float`, `boolean`); its `delimiter` is a comma. `kv` takes pairs apart at `delimiter` (a space) and
    `assign` (`=`). `timestamp` tries each `format`: `iso8601`, `rfc2822`, `unix`, `unix_ms`, `unix_us`, `unix_ns`,
    `syslog`, or one of strptime; `timezone` is that of times without an offset.

        steps:
          - parse: {field: event.message, as: grok, pattern: "%{COMBINEDAPACHELOG}", into: event.http}
          - parse: {field: event.http.timestamp, as: timestamp, format: "%d/%b/%Y:%H:%M:%S %z", into: timestamp}
          - parse: {field: event.row, as: csv, columns: [sku, "quantity:int", "price:float"], into: event.item}
          - parse: {field: event.payload, as: json, on_error: dead_letter}
    """

    field: FieldPath
    as_: Kind = msgspec.field(name="as")
    into: FieldPath | None = None
    on_error: Literal["keep", "drop", "dead_letter"] = "keep"
    pattern: str | None = None
    patterns: dict[str, str] = {}
    ecs_compatibility: Literal["disabled", "v1"] = "disabled"
    columns: tuple[str, ...] = ()
    delimiter: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    assign: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    format: str | tuple[str, ...] = "iso8601"
    timezone: str = "UTC"

    @property
    def learned(self) -> bool:
        """Whether the fields are known only from the texts."""
        return self.as_ in LEARNED


def target(step: Parse) -> Path:
    """Where the parts of what a step reads go."""
    if step.into is not None:
        return parse_path(step.into)
    path = parse_path(step.field)
    if step.as_ == "timestamp":
        return path
    return path[:-1] if len(path) > 1 else ("event",)
