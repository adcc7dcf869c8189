"""`drop`: removes fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from flows.columns import EXTRA, NO_EXTRA, Path, column, literal, quoted
from flows.expression.values import duck_type
from flows.steps.layer import DROP, Layer
from flows.steps.targets import drop_problem, parse_path, without

JSON_DROPPED = "json_dropped"
"""The function (paths, JSON text) → JSON text that a compiled `drop` calls: `flows.steps.dropping` has it."""


class Drop(msgspec.Struct, frozen=True):
    """Removes each of `paths`, a leaf or all that is below it, whatever the case of its letters.

    Lists are passed through: `event.items.card` is taken out of each item. What is dropped reaches no destination, not
    even `_rescued`. A path that is not there is no error. Only `event.*`
    and `metadata.*` can be dropped.

        steps:
          - drop: [event.debug, metadata.trace]
    """

    paths: tuple[str, ...]


def compile_drop(step: Drop, layer: Layer) -> Layer:
    """Leaves the columns out, and takes the paths out of `_extra` and of JSON columns above them."""
    paths = [parse_path(text) for text in step.paths]
    for text in step.paths:
        problem = drop_problem(text)
        if problem:
            raise ValueError(problem)
    columns = {known: kind for known, kind in layer.columns.items() if not any(_covers(path, known) for path in paths)}
    items = []
    for known, kind in list(columns.items()):
        name = column(known)
        inside = [path[len(known) :] for path in paths if _covers(known, path)]
        if known == EXTRA and kind != NO_EXTRA:
            items.append(f"{without(paths, dropped_sql)} AS {name}")
        elif inside and kind == "JSON":
            items.append(f"{dropped_sql(name, inside)} AS {name}")
        elif inside:
            left = _left(name, duck_type(f"CAST(NULL AS {kind})", frozenset()), inside, 0)
            if left is None:
                del columns[known]
            else:
                sql, columns[known] = left
                items.append(f"{sql} AS {name}" if sql != name else name)
        else:
            items.append(name)
    return layer.select([*items, *([DROP] if layer.drops else [])], columns=columns)


def dropped_sql(value: str, paths: Sequence[Path]) -> str:
    """SQL of the JSON `value` without what is at `paths`, which are relative to it."""
    names = msgspec.json.encode([[name.lower() for name in path] for path in paths]).decode()
    return f"CAST({JSON_DROPPED}({literal(names)}, CAST({value} AS VARCHAR)) AS JSON)"


def _left(sql: str, kind: Any, paths: list[Path], depth: int) -> tuple[str, str] | None:
    """(SQL, type) of the value without what is at `paths` in its structs, lists passed through; None: nothing is left."""
    each = quoted(f"d{depth}")
    if kind.id == "list":
        element = _left(each, kind.children[0][1], paths, depth + 1)
        if element is None:
            return None
        below, of = element
        return (sql, str(kind)) if below == each else (f"list_transform({sql}, lambda {each}: {below})", f"{of}[]")
    if kind.id != "struct":
        return sql, str(kind)
    fields, types, changed = [], [], False
    for name, child in kind.children:
        inside = [path[1:] for path in paths if path[0].lower() == name.lower()]
        value = f"struct_extract({each}, {literal(name)})"
        left = None if () in inside else _left(value, child, inside, depth + 1) if inside else (value, str(child))
        changed = changed or left is None or left[0] != value
        if left is not None:
            fields.append(f"{quoted(name)} := {left[0]}")
            types.append(f"{quoted(name)} {left[1]}")
    if not fields:
        return None
    packed = f"CASE WHEN {each} IS NOT NULL THEN struct_pack({', '.join(fields)}) END"
    one = f"list_transform([{sql}], lambda {each}: {packed})[1]"
    return (one, f"STRUCT({', '.join(types)})") if changed else (sql, str(kind))


def _covers(path: Path, known: Path) -> bool:
    return tuple(part.lower() for part in known[: len(path)]) == tuple(part.lower() for part in path)
