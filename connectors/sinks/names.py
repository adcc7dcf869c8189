"""Names made from a template and an event: an index, a topic. What an event says never leads out of the template.

`logs-{stream}-{event.app}`: whatever stands in `event.app`, the name begins with the literal text before it, has no
character that the destination reads as anything but a letter of a name, and is no longer than names may be.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from connectors.columns import UNQUOTED, Path
from connectors.sinks.conform import json_paths

LONGEST = 200
"""Bytes of a name: Elasticsearch takes 255, Kafka 249, and both add something of their own."""

NOTHING = "none"
"""What stands for a field that an event has not, or that has no text."""

Letters = Literal["lower", "any"]
"""Whether a name may have capitals: Elasticsearch's indexes may not."""

_FIELD = re.compile(r"\{([^{}]*)\}")
_PART = re.compile(rf'({UNQUOTED})|"((?:[^"]|"")*)"')
_PART_LONGEST = 80
_ROOTS = ("event", "metadata")


class NameTemplate:
    """A template, compiled. `complaint` says what is wrong with one."""

    def __init__(self, text: str, letters: Letters = "any") -> None:
        """ValueError where `text` is no template; `letters` say which the destination takes."""
        if (wrong := complaint(text, letters)) is not None:
            raise ValueError(wrong)
        self._letters = letters
        pieces = _FIELD.split(text)
        self._literals = pieces[::2]
        self._fields = pieces[1::2]

    def of(self, stream: str, rows: pa.Table) -> pa.Array:
        """The name for each row of a stream's rows."""
        named: list[pa.Array | str] = [self._literals[0]]
        for field, literal in zip(self._fields, self._literals[1:], strict=True):
            if field == "stream":
                named.append(part_of_name(stream, self._letters))
            else:
                named.append(_once_each(field_text(rows, _path(field)), partial(part_of_name, letters=self._letters)))
            named.append(literal)
        if all(isinstance(piece, str) for piece in named):
            return pa.array(["".join(map(str, named))[:LONGEST]]).take(pa.array([0] * rows.num_rows, pa.int64()))
        joined = pc.binary_join_element_wise(*named, "")
        return pc.utf8_slice_codeunits(joined, 0, LONGEST)


def part_of_name(value: str | None, letters: Letters) -> str:
    """What of a name an event's value may be: letters, digits, `_`, `-` and single dots inside; never empty."""
    if not value:
        return NOTHING
    text = value[:_PART_LONGEST]
    if letters == "lower":
        text = text.lower()
    text = re.sub(r"[^A-Za-z0-9._-]", "_", text)[:_PART_LONGEST]
    return re.sub(r"\.(?=\.|$)|^\.", "_", text)


def field_text(rows: pa.Table, path: Path) -> pa.Array:
    """The value at `path` as text, NULL where an event has none or no single one. `date` is that of the row's time (UTC)."""
    if path == ("date",) and "date" not in rows.column_names:
        path = ("window_start",)
    nothing = pa.nulls(rows.num_rows, pa.string())
    if path[0] not in rows.column_names:
        return nothing
    column = rows.column(path[0]).combine_chunks()
    for part in path[1:]:
        if not pa.types.is_struct(column.type) or column.type.get_field_index(part) < 0:
            return nothing
        column = pc.struct_field(column, part)
    if pa.types.is_nested(column.type):
        return nothing
    if path in json_paths(rows.schema):
        return _once_each(column, _plain)
    if path == ("window_start",):
        column = column.cast(pa.date32())
    return column.cast(pa.string())


def complaint(text: str, letters: Letters = "any") -> str | None:
    """What is wrong with a template, and after `; ` the remedy; None where nothing is."""
    pieces = _FIELD.split(text)
    literals, fields = pieces[::2], pieces[1::2]
    if any("{" in literal or "}" in literal for literal in literals):
        return "a '{' or '}' without its partner; write {stream} for the stream's name"
    for field in fields:
        if field not in ("stream", "source", "date") and not _is_field(field):
            return f"{{{field[:60]}}} stands for nothing; write {{stream}}, {{source}}, {{date}} or {{event.<field>}}"
    plain = "".join(literals)
    allowed = "a-z0-9._-" if letters == "lower" else "A-Za-z0-9._-"
    if re.search(f"[^{allowed}]", plain):
        return (
            f"a name has only the characters {allowed.replace('-z', '-z ').replace('-Z', '-Z ').replace('-9', '-9 ')}"
        )
    if not literals[0] and (not fields or fields[0] != "stream"):
        return "events could choose any name; begin it with a text of its own: logs-{…}"
    if literals[0][:1] in (".", "-", "_") and letters == "lower":
        return "a name begins with a letter or a digit"
    if len(plain) > LONGEST // 2:
        return f"is too long; at most {LONGEST // 2} characters beside what is filled in"
    return None


def check_path(key: str, text: str) -> Path:
    """The path that a setting `key` has as its text; ValueError where it is none of an event's."""
    try:
        path = _path(text)
    except ValueError as exc:
        raise ValueError(f"{key}: {exc}; write event_id, source or event.<field>") from None
    if path not in (("event_id",), ("source",)) and not (len(path) > 1 and path[0] in _ROOTS):
        raise ValueError(f"{key}: {text[:60]!r} is no part of an event; write event_id, source or event.<field>")
    return path


def _is_field(field: str) -> bool:
    try:
        path = _path(field)
    except ValueError:
        return False
    return len(path) > 1 and path[0] in _ROOTS


def _path(field: str) -> Path:
    """The parts of a path as a person writes it: `event.http.status`, `event."a.b"`. ValueError for what is none."""
    parts: list[str] = []
    at = 0
    while match := _PART.match(field, at):
        parts.append(match[1] or match[2].replace('""', '"'))
        at = match.end()
        if at == len(field):
            return tuple(parts)
        if field[at] != ".":
            break
        at += 1
    raise ValueError(f"'{field[:60]}' is no path of a field")


def _plain(json: str | None) -> str | None:
    """The text of a JSON text, a number or a boolean; None for anything else."""
    if json is None or json[0] in "{[n":
        return None
    return msgspec.json.decode(json, type=str) if json[0] == '"' else json


def _once_each(values: pa.Array, function: Callable[[str | None], str | None]) -> pa.Array:
    """`function` of each value; the work is done once for each that is different."""
    encoded = pc.dictionary_encode(values, null_encoding="encode")
    return pa.array([function(value) for value in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)
