"""What is wrong with a `parse` before any event: told by `headrace check`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from flows.steps.parse.grok import UnknownPattern
from flows.steps.parse.readings import expression_of, reading
from flows.steps.parse.settings import Parse
from flows.steps.parse.times import format_problem, timezone_problem
from flows.steps.targets import parse_path

_ONLY_FOR = {
    "pattern": ("grok", "regex"),
    "patterns": ("grok",),
    "ecs_compatibility": ("grok",),
    "columns": ("csv",),
    "delimiter": ("csv", "kv"),
    "assign": ("kv",),
    "format": ("timestamp",),
    "timezone": ("timestamp",),
}
_NEEDED = {"grok": "pattern", "regex": "pattern", "csv": "columns"}


class Complaint(msgspec.Struct, frozen=True):
    """A problem of the setting `key`."""

    key: str
    message: str
    suggestion: str | None = None
    severity: Literal["error", "warning"] = "error"


def complaints(step: Parse) -> list[Complaint]:
    """Every problem of the step; a part that could not be read is UNSET and was complained of."""
    return list(_complaints(step))


def _complaints(step: Any) -> Iterator[Complaint]:
    yield from _paths(step)
    if step.as_ is UNSET:
        return
    defaults = {field.name: field for field in msgspec.structs.fields(Parse)}
    for key, kinds in _ONLY_FOR.items():
        given = getattr(step, key)
        default = {} if key == "patterns" else defaults[key].default
        if given is not UNSET and given != default and step.as_ not in kinds:
            yield Complaint(
                key, f"{key!r} says nothing about {step.as_}; it is for {' and '.join(kinds)}", "leave it out"
            )
    needed = _NEEDED.get(step.as_)
    if needed is not None and getattr(step, needed) in (None, ()):
        example = {
            "grok": '"%{COMBINEDAPACHELOG}"',
            "regex": r"'(?<key>\w+)=(?<value>\w+)'",
            "csv": "[time, status:int]",
        }
        yield Complaint("", f"missing: {needed!r}", f"for example {needed}: {example[step.as_]}")
    elif step.as_ in ("grok", "regex") and step.pattern is not UNSET and step.patterns is not UNSET:
        yield from _pattern(step)
    elif step.as_ == "csv" and step.columns is not UNSET and UNSET not in step.columns and step.delimiter is not UNSET:
        yield from _columns(step)
    elif step.as_ == "timestamp" and step.format is not UNSET and step.timezone is not UNSET:
        yield from _times(step)


def _paths(step: Any) -> Iterator[Complaint]:
    for key in ("field", "into"):
        written = getattr(step, key)
        if written is UNSET or written is None:
            continue
        path = parse_path(written)
        if "*" in path:
            yield Complaint(key, "a parse is of one path; '*' cannot stand here")
        elif key == "into" and path == ("source",):
            yield Complaint(key, "'source' is a text and holds no parts", "name an object: event.…")
        elif key == "into" and path == ("timestamp",) and step.as_ not in ("timestamp", UNSET):
            yield Complaint(key, f"only a parse as timestamp can go into 'timestamp', not one as {step.as_}")
        elif key == "field" and path in (("event",), ("metadata",)):
            yield Complaint(
                key, f"{written!r} is an object; name the field whose text is to be read", f"{written}.message"
            )
    source = step.field is not UNSET and parse_path(step.field) == ("source",)
    if source and step.as_ == "timestamp" and step.into is None:
        yield Complaint("", "missing: 'into'; a time cannot stand in 'source'", "into: timestamp")


def _pattern(step: Parse) -> Iterator[Complaint]:
    try:
        slow = expression_of(step).slow
        reading(step)
    except UnknownPattern as exc:
        near = difflib.get_close_matches(exc.name.upper()[:100], exc.known, n=1)
        meant = f"did you mean %{{{near[0]}}}?" if near else "define it under 'patterns'"
        yield Complaint("pattern", str(exc), meant)
    except ValueError as exc:
        yield Complaint("pattern", str(exc))
    else:
        if slow is not None:
            message = f"{slow} needs an engine that backtracks: this parse is many times slower"
            yield Complaint(
                "pattern", message, "write it without look-around, atomic groups, back-references", "warning"
            )


def _columns(step: Parse) -> Iterator[Complaint]:
    names = [name.split(":")[0] for name in step.columns]
    for place, name in enumerate(names):
        if name in names[:place]:
            yield Complaint(f"columns[{place}]", f"{name[:60]!r} is named twice")
    if step.delimiter is not None and ('"' in step.delimiter or len(step.delimiter) != 1):
        yield Complaint("delimiter", "a delimiter is one character, and no double quote")
        return
    try:
        reading(step)
    except ValueError as exc:
        yield Complaint("columns", str(exc))


def _times(step: Any) -> Iterator[Complaint]:
    formats = (step.format,) if isinstance(step.format, str) else step.format
    if not formats:
        yield Complaint("format", "names no format", "iso8601")
    for format_ in formats:
        problem = format_problem(format_) if format_ is not UNSET else None
        if problem is not None:
            yield Complaint("format", problem)
    problem = timezone_problem(step.timezone)
    if problem is not None:
        yield Complaint("timezone", problem, "such as Europe/Berlin or UTC")
