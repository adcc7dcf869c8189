"""Names made from a template and an event: an index, a topic. What an event says never leads out of the template.

`logs-{stream}-{event.app}`: whatever stands in `event.app`, the name begins with the literal text before it, has no
character that the destination reads as anything but a letter of a name, and is no longer than names may be.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from connectors.columns import Path
from connectors.sinks.conform import json_paths
from connectors.sinks.name_templates import FIELD, LONGEST, NOTHING, Letters, complaint, path_of

_PART_LONGEST = 80  # characters of a value in a name


class NameTemplate:
    """A template, compiled. `complaint` says what is wrong with one."""

    def __init__(self, text: str, letters: Letters = "any") -> None:
        """ValueError where `text` is no template; `letters` say which the destination takes."""
        if (wrong := complaint(text, letters)) is not None:
            raise ValueError(wrong)
        self._letters = letters
        pieces = FIELD.split(text)
        self._literals = pieces[::2]
        self._fields = pieces[1::2]

    def of(self, stream: str, rows: pa.Table) -> pa.Array:
        """The name for each row of a stream's rows."""
        named: list[pa.Array | str] = [self._literals[0]]
        for field, literal in zip(self._fields, self._literals[1:], strict=True):
            if field == "stream":
                named.append(part_of_name(stream, self._letters))
            else:
                named.append(_once_each(field_text(rows, path_of(field)), partial(part_of_name, letters=self._letters)))
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


def _plain(json: str | None) -> str | None:
    """The text of a JSON text, a number or a boolean; None for anything else."""
    if json is None or json[0] in "{[n":
        return None
    return msgspec.json.decode(json, type=str) if json[0] == '"' else json


def _once_each(values: pa.Array, function: Callable[[str | None], str | None]) -> pa.Array:
    """`function` of each value; the work is done once for each that is different."""
    encoded = pc.dictionary_encode(values, null_encoding="encode")
    return pa.array([function(value) for value in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)
