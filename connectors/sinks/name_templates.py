"""Templates of names, such as `logs-{stream}-{event.app}`: which texts are one, and what is wrong with the others.

What makes names of them is in `connectors.sinks.names`; a configuration is read without it.
"""

from __future__ import annotations

import re
from typing import Literal

from connectors.columns import UNQUOTED, Path

LONGEST = 200
"""Bytes of a name: Elasticsearch takes 255, Kafka 249, and both add something of their own."""

NOTHING = "none"
"""What stands for a field that an event has not, or that has no text."""

Letters = Literal["lower", "any"]
"""Whether a name may have capitals: Elasticsearch's indexes may not."""

FIELD = re.compile(r"\{([^{}]*)\}")
"""A field in a template."""

_PART = re.compile(rf'({UNQUOTED})|"((?:[^"]|"")*)"')
_ROOTS = ("event", "metadata")


def complaint(text: str, letters: Letters = "any") -> str | None:
    """What is wrong with a template, and after `; ` the remedy; None where nothing is."""
    pieces = FIELD.split(text)
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


def check_path(text: str) -> Path:
    """The path that `text` is; ValueError where it is none of an event's."""
    try:
        path = path_of(text)
    except ValueError as exc:
        raise ValueError(f"{exc}; write event_id, source or event.<field>") from None
    if path not in (("event_id",), ("source",)) and not (len(path) > 1 and path[0] in _ROOTS):
        raise ValueError(f"{text[:60]!r} is no part of an event; write event_id, source or event.<field>")
    return path


def path_of(field: str) -> Path:
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


def _is_field(field: str) -> bool:
    try:
        path = path_of(field)
    except ValueError:
        return False
    return len(path) > 1 and path[0] in _ROOTS
