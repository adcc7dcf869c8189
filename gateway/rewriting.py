"""An event that names a key twice is written anew with the last one, so that every reader sees the same event.

Readers disagree about duplicate keys (first wins, last wins, both kept), and what a mask does not see it does not mask.
Numbers keep their text: a rewrite must not round what the sender wrote.
"""

from __future__ import annotations

import json
from typing import Any


class _Number(str):
    """The text of a number."""

    __slots__ = ()


class _Members(list[tuple[str, Any]]):
    """An object's members as written, duplicates included."""


def written_once(text: bytes) -> bytes:
    """`text`, one JSON value: unchanged if no object in it has a key twice, else written with the last of each key."""
    duplicates = False

    def members(pairs: list[tuple[str, Any]]) -> _Members:
        nonlocal duplicates
        last = dict(pairs)
        duplicates = duplicates or len(last) != len(pairs)
        return _Members(last.items())

    value = json.loads(text, object_pairs_hook=members, parse_float=_Number, parse_int=_Number)
    return _written(value).encode() if duplicates else text


def _written(value: Any) -> str:
    if isinstance(value, _Members):
        return "{" + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{_written(item)}" for name, item in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    return str(value) if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)
