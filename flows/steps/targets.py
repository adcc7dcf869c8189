"""The paths that `set` and `drop` name, and what `_extra` holds of them."""

from __future__ import annotations

import re
from collections.abc import Callable

from flows.columns import EXTRA, EXTRA_TYPE, SOURCE, TIMESTAMP, Path, column, dotted, literal

_PART = re.compile(r'"((?:[^"]|"")+)"|([^."]+)')


def parse_path(text: str) -> Path:
    """`event.a."b.c"` as its parts; ValueError where it is none."""
    parts: list[str] = []
    position = 0
    while True:
        match = _PART.match(text, position)
        if match is None:
            raise ValueError(f"{text!r} is not the path of a field")
        parts.append(match[1].replace('""', '"') if match[1] else match[2].strip())
        position = match.end()
        if position == len(text):
            return (parts[0].lower(), *parts[1:])
        if text[position] != ".":
            raise ValueError(f"{text!r} is not the path of a field")
        position += 1


def target_problem(text: str) -> str | None:
    """Why `set` cannot set this path; None when it can."""
    return _problem(text, also=(SOURCE, TIMESTAMP), verb="set")


def drop_problem(text: str) -> str | None:
    """Why `drop` cannot drop this path; None when it can."""
    return _problem(text, also=(), verb="drop")


def _problem(text: str, *, also: tuple[Path, ...], verb: str) -> str | None:
    try:
        path = parse_path(text)
    except ValueError as exc:
        return str(exc)
    if path in also or (path[0] in ("event", "metadata") and len(path) > 1):
        return None
    return f"cannot {verb} {text!r}: only fields below event and metadata" + (", source and timestamp" if also else "")


def without(paths: list[Path], inside_of: Callable[[str, list[Path]], str] | None = None) -> str:
    """SQL of the column `_extra` without what is at or below `paths`, also inside the JSON above; NULL when empty.

    `inside_of` gives the SQL of a JSON value without paths in it (default: names in this case, no lists).
    """
    extra = column(EXTRA)
    gone, above = [], dict[str, list[Path]]()
    for path in paths:
        name = dotted(path).lower()
        gone.append(f"lower(e.key) = {literal(name)} OR starts_with(lower(e.key), {literal(name + '.')})")
        for length in range(1, len(path)):
            above.setdefault(dotted(path[:length]).lower(), []).append(path[length:])
    arms = []
    for name, inside in above.items():
        value = "e.value"
        if inside_of is not None:
            value = inside_of(value, inside)
        else:
            for path in inside:
                value = json_without(value, path)
        arms.append(f"WHEN {literal(name)} THEN {value}")
    value = f"CASE lower(e.key) {' '.join(arms)} ELSE e.value END"
    kept = f"list_filter(map_entries({extra}), lambda e: NOT ({' OR '.join(gone)}))"
    entries = f"list_transform({kept}, lambda e: struct_pack(key := e.key, value := {value}))"
    rebuilt = f"CAST(map_from_entries({entries}) AS {EXTRA_TYPE})"
    return f"CASE WHEN {extra} IS NULL OR len({kept}) = 0 THEN NULL ELSE {rebuilt} END"


def json_without(value: str, path: Path) -> str:
    """SQL of the JSON `value` without what is at `path`; the value itself where there is nothing."""
    place = "$" + "".join('."' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in path)
    return f"json_remove({value}, {literal(place)})"
