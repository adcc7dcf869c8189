"""The path of a field of an event, as a person writes it: `event.status`, `metadata."a b".c`."""

from __future__ import annotations

import re

from flows.columns import Path

ROOTS = ("event", "metadata")
_PART = re.compile(r'"((?:[^"]|"")+)"|([^\W\d][\w$-]*|\*)|([0-9][\w$-]*)')


def field_path(text: str) -> Path:
    """The parts of a path; ValueError with a sentence where it is none. Its root is not checked."""
    if len(text) > 10_000:
        raise ValueError("a path of more than 10,000 characters")
    parts: list[str] = []
    at = 0
    while match := _PART.match(text, at):
        quoted, plain, numbered = match.groups()
        parts.append(quoted.replace('""', '"') if quoted else plain or numbered)
        at = match.end()
        if at == len(text):
            return tuple(parts)
        if text[at] != ".":
            break
        at += 1
    raise ValueError(f'{text[:60]!r} is not the path of a field, such as event.status or event."a b"')
