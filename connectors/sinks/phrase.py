"""A text with fields of the row in it, `{source}-{event.host}`, as the SQL expression that makes it of each row.

Where a field is absent there is nothing in its place; a text of which nothing is left is NULL. What a protocol allows
in the text is for its user to see to.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from connectors.columns import UNQUOTED, Path, literal
from connectors.values import as_written

if TYPE_CHECKING:
    import pyarrow as pa

_PART = rf'(?:{UNQUOTED}|"(?:[^"]|"")+")'
_FIELD = re.compile(rf"\{{({_PART}(?:\.{_PART})*)\}}")
_ONE_PART = re.compile(_PART)
_COLUMNS = frozenset({"stream", "event_id", "timestamp", "received_at", "source", "date", "_sample_rate", "_late"})


class Phrase(msgspec.Struct, frozen=True):
    """A parsed text: what stands in it, and the paths of fields."""

    parts: tuple[str | Path, ...]

    @property
    def constant(self) -> str | None:
        """The text, where no field is in it."""
        return "".join(str(part) for part in self.parts) if all(isinstance(p, str) for p in self.parts) else None

    def sql(self, schema: pa.Schema, stream: str) -> str:
        """The expression over rows of `schema`: VARCHAR, NULL where it would be empty. `{stream}` is a constant."""
        from connectors.sinks.field_sql import field_text  # here: a configuration is read without Arrow

        terms = [literal(part) if isinstance(part, str) else field_text(schema, part, stream) for part in self.parts]
        if not terms:
            return "NULL::VARCHAR"
        if len(terms) == 1:
            return f"nullif({terms[0]}, '')"
        return f"nullif(concat({', '.join(terms)}), '')"


def phrase(text: str) -> Phrase:
    """Reads `text`. Raises ValueError where a brace is not part of a field, or a field is of no row."""
    parts: list[str | Path] = []
    end = 0
    for found in _FIELD.finditer(text):
        parts += [text[end : found.start()], _path(found[1])]
        end = found.end()
    parts.append(text[end:])
    if any(isinstance(part, str) and ("{" in part or "}" in part) for part in parts):
        raise ValueError(f"{as_written(text)[:80]!r}: a brace belongs to a field, such as {{source}} or {{event.host}}")
    return Phrase(tuple(part for part in parts if part))


def _path(written: str) -> Path:
    parts = _ONE_PART.findall(written)
    path = tuple(part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts)
    if len(path) > 1 and path[0] not in ("event", "metadata"):
        raise ValueError(f"{{{written[:80]}}}: a row has event.…, metadata.…, {', '.join(sorted(_COLUMNS))}")
    return path
