"""A `parse` as layers of a pipeline's query, in two halves: the text is read, then its parts become columns.

Between the halves the shape of learned kinds is found out, and dead letters are taken out: a pipeline is cut there
(`flows.stages`).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flows.columns import EXTRA, EXTRA_TYPE, NO_EXTRA, TIMESTAMP, TIMESTAMP_TYPE, Path, column, dotted, literal, quoted
from flows.expression.lower import lower
from flows.expression.paths import Scope, resolve_names
from flows.expression.syntax import parse as parse_expression
from flows.expression.values import as_text
from flows.shape import Shape, concatenate, document_relation
from flows.shape.hints import hinted
from flows.steps.layer import DROP, Layer
from flows.steps.parse.documents import document
from flows.steps.parse.readings import TEXT, VALUE, reading
from flows.steps.parse.settings import Parse, target
from flows.steps.targets import parse_path

VALUE_PATH: Path = ("_value",)
Leaves = dict[Path, tuple[str, str]]


def failed(index: int) -> Path:
    """The BOOLEAN column that tells that step `index` could not read its text."""
    return (f"_failed_{index}",)


def read_text(step: Parse, index: int, layer: Layer) -> Layer:
    """The first half: adds what was read of the text (a value, or a document whose shape is to be learned)."""
    text = as_text(lower(parse_expression(dotted(parse_path(step.field))), Scope(layer.columns)))
    fate = [DROP] if layer.drops else []
    texts = layer.select([*layer.carried(), *fate, f"CAST({layer.guarded(text.sql)} AS VARCHAR) AS {TEXT}"])
    if step.learned:
        value, read = document(step, TEXT, target(step)), f"{VALUE} IS NOT NULL"
    else:
        how = reading(step)
        value, read = how.value, how.read
    values = texts.select([*layer.carried(), *fate, TEXT, f"{value} AS {VALUE}"])
    columns = {**layer.columns, failed(index): "BOOLEAN", VALUE_PATH: "VARCHAR"}
    fails = f"{TEXT} IS NOT NULL AND NOT coalesce({read}, false) AS {column(failed(index))}"
    return values.select([*layer.carried(), *fate, fails, VALUE], columns=columns)


def place_parts(step: Parse, index: int, layer: Layer, shape: Shape, types: Mapping[str, str]) -> Layer:
    """The second half: the parts become columns, of a learned kind those of `shape`; failures are marked.

    `types` are the stream's, by dotted path.
    """
    below = {path: kind for path, kind in layer.columns.items() if path != VALUE_PATH}
    read = f"({VALUE} IS NOT NULL AND NOT {column(failed(index))})"
    if step.learned:
        layer, found, extra = _learned(shape, layer)
    else:
        found = {(*target(step), *path): (sql, kind) for path, sql, kind in reading(step).leaves}
        extra = _misread(step, types)
    fate = [DROP] if layer.drops else []
    items, parts = [f"{read} AS {quoted('_read')}"], Leaves()
    for number, (path, (sql, kind)) in enumerate(found.items()):
        name = quoted(f"_part:{number}")
        items.append(f"CASE WHEN {read} THEN {sql} END AS {name}")
        parts[path] = (name, kind)
    rescued = [column(EXTRA)] if below.get(EXTRA, NO_EXTRA) != NO_EXTRA else []
    if extra is not None:
        items.append(f"CASE WHEN {read} THEN {extra} END AS {quoted('_part:extra')}")
        rescued.append(quoted("_part:extra"))
    carried = [column(path) for path in below]
    values = layer.select([*carried, *fate, *items], columns=below)
    placed = _placed(parts, below, parse_path(step.field), types, rescued)
    if EXTRA in below:
        placed[EXTRA] = (concatenate(rescued), EXTRA_TYPE if rescued else NO_EXTRA)
    written = [f"{sql} AS {column(path)}" if sql != column(path) else sql for path, (sql, _) in placed.items()]
    mark = DROP
    if step.on_error != "keep":
        fails = f"CASE WHEN {column(failed(index))} THEN CAST({index} AS SMALLINT) END"
        mark = f"coalesce({DROP}, {fails}) AS {DROP}" if layer.drops else f"{fails} AS {DROP}"
    drops = layer.drops or step.on_error != "keep"
    above = values.select([*written, *([mark] if drops else [])], columns={p: kind for p, (_, kind) in placed.items()})
    return msgspec.structs.replace(above, drops=drops)


def _misread(step: Parse, types: Mapping[str, str]) -> str | None:
    """SQL of the texts that a capture's or column's own type does not hold, by path; None where there are none."""
    misread = [
        _entry((*target(step), *path), text, f"{text} IS NOT NULL AND ({typed}) IS NULL")
        for path, text, typed in reading(step).texts
        if dotted((*target(step), *path)) not in types
    ]
    return concatenate(misread) if misread else None


def _learned(shape: Shape, layer: Layer) -> tuple[Layer, Leaves, str | None]:
    if not shape.leaves() and not shape.event.open and not shape.metadata.open:
        return layer, {}, None
    opened, found, extra = document_relation(shape, VALUE_PATH[0], "\0")
    before, _, after = opened.partition("\0")
    inner_before = f"SELECT * FROM {before}({layer.before}" if layer.before else f"SELECT * FROM {before}"
    inner_after = f"{layer.after}){after}" if layer.before else f"{layer.after}{after}"
    return msgspec.structs.replace(layer, before=inner_before, after=inner_after), found, extra


def _placed(
    parts: Leaves, below: Mapping[Path, str], field: Path, types: Mapping[str, str], rescued: list[str]
) -> Leaves:
    """The columns once the parts are among them. What has to give way to a part, and is not what was read, is rescued."""
    placed: Leaves = {path: (column(path), kind) for path, kind in below.items()}
    field = resolve_names(field, dict(below))
    for written, part in parts.items():
        name, kind = part
        path = resolve_names(written, dict(below))
        if path == TIMESTAMP:
            placed[path] = (f"coalesce(TRY_CAST({name} AS {TIMESTAMP_TYPE}), {placed[path][0]})", TIMESTAMP_TYPE)
            continue
        hint = types.get(dotted(path))
        if hint is not None and hint != kind:
            value, typed = f"to_json({name})", hinted(f"to_json({name})", hint)
            rescued.append(_entry(path, name, f"{name} IS NOT NULL AND ({typed}) IS NULL AND {value} IS NOT NULL"))
            name, kind = typed, hint
        for other in [other for other in placed if other != path and _one_is_above(other, path) and other in below]:
            sql, _ = placed.pop(other)
            unread = f"{sql} IS NOT NULL" + (f" AND NOT {quoted('_read')}" if other == field else "")
            rescued.append(_entry(other, sql, unread))
        if path not in placed:
            placed[path] = (name, kind)
            continue
        old, known = placed[path]
        if known == kind:
            placed[path] = (f"coalesce({name}, {old})", kind)
        elif path == field:
            rescued.append(_entry(path, old, f"{old} IS NOT NULL AND NOT {quoted('_read')}"))
            placed[path] = (name, kind)
        else:
            both = f"CASE WHEN {name} IS NOT NULL THEN to_json({name}) ELSE to_json({old}) END"
            placed[path] = (both, "JSON")
    return placed


def _entry(path: Path, value: str, when: str) -> str:
    return f"CASE WHEN {when} THEN MAP {{{literal(dotted(path))}: to_json({value})}} END"


def _one_is_above(one: Path, other: Path) -> bool:
    length = min(len(one), len(other))
    return one[0] in ("event", "metadata") and one[:length] == other[:length]
