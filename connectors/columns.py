"""How a path into an event is written, and how SQL names and texts are quoted: one spelling, wherever it is needed."""

from __future__ import annotations

Path = tuple[str, ...]


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
    return bool(part) and part.replace("_", "a").isalnum() and not part[0].isdigit()
