"""A row of a batch as its fields by dotted path, as JSON would write their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from flows.columns import Path, dotted
from flows.steps.layer import MARKS
from flows.trial.compare import plain

_LEFT_OUT = ("event_id", "date", "_offset", "_drop", "_extra")
_USUAL = {"_sample_rate": 1.0, "_late": False}  # said only when they are otherwise


def flat(row: Mapping[str, Any], json: frozenset[Path]) -> dict[str, Any]:
    """The fields of a row (`flows.output`) that are not null; `json` are the paths whose values are JSON text."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        usual = name in _USUAL and value == _USUAL[name]
        if name not in _LEFT_OUT and not name.startswith(MARKS) and not usual:
            _flatten(plain(value), (name,), json, found)
    if row.get("_extra"):
        for name, value in msgspec.json.decode("{" + row["_extra"] + "}").items():
            _flatten(value, (name,), frozenset(), found, prefix=name)
    return found


def nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as one JSON object again, for a person to read."""
    from flows.config.paths import field_path

    made: dict[str, Any] = {}
    for text, value in fields.items():
        try:
            *above, last = field_path(text)
        except ValueError:
            made[text] = value
            continue
        place: dict[str, Any] = made
        for part in above:
            below = place.setdefault(part, {})
            place = below if isinstance(below, dict) else place
        place[last] = value
    return made


def _flatten(value: Any, path: Path, json: frozenset[Path], found: dict[str, Any], prefix: str | None = None) -> None:
    name = dotted(path) if prefix is None else prefix
    if path in json and isinstance(value, str):
        value = msgspec.json.decode(value)
    if isinstance(value, Mapping) and value:
        for part, child in value.items():
            below = dotted((part,))
            _flatten(child, (*path, part), json, found, None if prefix is None else f"{prefix}.{below}")
    elif value is not None and value != {}:
        found[name] = value
