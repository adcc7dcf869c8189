"""`drop`: removes fields."""

from __future__ import annotations

import msgspec

from flows.columns import EXTRA, NO_EXTRA, Path, column
from flows.steps.layer import DROP, Layer
from flows.steps.targets import drop_problem, json_without, parse_path, without


class Drop(msgspec.Struct, frozen=True):
    """Removes each of `paths`, a leaf or all that is below it, whatever the case of its letters.

    What is dropped reaches no destination, not even `_rescued`. A path that is not there is no error. Only `event.*`
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
    for known, kind in columns.items():
        name = column(known)
        inside = [path[len(known) :] for path in paths if _covers(known, path)]
        if known == EXTRA and kind != NO_EXTRA:
            items.append(f"{without(paths)} AS {name}")
        elif inside and kind == "JSON":
            value = name
            for part in inside:
                value = json_without(value, part)
            items.append(f"{value} AS {name}")
        elif inside and kind.startswith("STRUCT") and not kind.endswith("]"):
            value = f"to_json({name})"
            for part in inside:
                value = json_without(value, part)
            columns[known] = "JSON"  # rare: only a type hint makes a struct a leaf
            items.append(f"{value} AS {name}")
        else:
            items.append(name)
    return layer.select([*items, *([DROP] if layer.drops else [])], columns=columns)


def _covers(path: Path, known: Path) -> bool:
    return tuple(part.lower() for part in known[: len(path)]) == tuple(part.lower() for part in path)
