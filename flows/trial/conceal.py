"""Takes out of a value what a mask hides elsewhere in the same event."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

HIDDEN = "***"
_SHORTEST = 4  # characters: what is shorter is hidden where it is a whole value, not inside of others
_WORD = re.compile(r"\S+")


def originals(stages: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> tuple[str, ...]:
    """The texts that masks hide, the longest first; `stages` are an event's fields without and with the masks."""
    found: set[str] = set()
    for own, masked in stages:
        for path, value in own.items():
            other = masked.get(path)
            if value != other:
                _collect(value, str(other), found)
    return tuple(sorted(found, key=lambda text: (-len(text), text)))


def conceal(value: Any, hidden: tuple[str, ...]) -> Any:
    """The value with every text of `hidden` in it replaced."""
    if not hidden:
        return value
    if isinstance(value, Mapping):
        return {name: conceal(child, hidden) for name, child in value.items()}
    if isinstance(value, list):
        return [conceal(child, hidden) for child in value]
    if isinstance(value, bool) or value is None:
        return value
    text = str(value)
    if text in hidden:
        return HIDDEN
    for one in hidden:
        if len(one) >= _SHORTEST and one in text:
            text = text.replace(one, HIDDEN)
    return value if text == str(value) else text


def _collect(value: Any, masked: str, found: set[str]) -> None:
    if isinstance(value, Mapping):
        for child in value.values():
            _collect(child, masked, found)
    elif isinstance(value, list):
        for child in value:
            _collect(child, masked, found)
    elif value is not None and not isinstance(value, bool):
        text = str(value)
        if text and text not in masked:
            found.add(text)
            found.update(word for word in _WORD.findall(text) if len(word) >= _SHORTEST and word not in masked)
