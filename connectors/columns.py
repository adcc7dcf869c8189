"""How a path into an event is written, and how SQL names and texts are quoted: one spelling, wherever it is needed."""

from __future__ import annotations

import re

Path = tuple[str, ...]

UNQUOTED = "[A-Za-z_À-῿぀-鿿가-힯][A-Za-z0-9_À-῿぀-鿿가-힯]*"
"""What stands unquoted in a path. Ranges of code points, as Python's and RE2's tables of letters differ by version."""

_UNQUOTED = re.compile(UNQUOTED)


def dotted(path: Path) -> str:
    """The path as a person writes it: `event.http.status`; a part that is no identifier is quoted: `event."a.b"`."""
    return ".".join(part if _plain(part) else quoted(part) for part in path)


def quoted(name: str) -> str:
    """A SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A SQL string literal. DuckDB has no escapes in one but the doubled quote."""
    return "'" + text.replace("'", "''") + "'"


def _plain(part: str) -> bool:
    return _UNQUOTED.fullmatch(part) is not None
