"""What must hold of lookups and of the steps that name them; of a file only what its head says."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from connectors.values import as_written
from flows.config.paths import ROOTS, field_path
from flows.config.report import Report, did_you_mean
from flows.lookups.settings import FORMATS, Lookup
from flows.steps import Enrich
from flows.steps.enrich import default_problem

Heads = dict[str, list[str] | None]
"""By lookup: the names of its columns; None where they are not known."""


def check_lookups(grammar: Any, report: Report, *, files: bool) -> None:
    """Tells `report` what is wrong with the lookups of a `Grammar` whose parts were read; with `files` also with theirs."""
    shared = _heads("lookups", grammar.lookups, report, files=files)
    used: set[str] = set()
    for name, stream in ({} if grammar.streams is UNSET else grammar.streams).items():
        if stream is UNSET:
            continue
        at = f"streams.{name}"
        own = _heads(f"{at}.lookups", stream.lookups, report, files=files)
        steps = [] if stream.steps is UNSET else list(stream.steps)
        named = {step.lookup for step in steps if isinstance(step, Enrich)}
        used |= named - set(own)
        for index, step in enumerate(steps):
            if isinstance(step, Enrich):
                _check_step(f"{at}.steps[{index}].enrich", step, {**shared, **own}, report)
        _check_used(f"{at}.lookups", set(own) - named, report)
    _check_used("lookups", set(shared) - used, report)


def _heads(path: str, lookups: Any, report: Report, *, files: bool) -> Heads:
    found: Heads = {}
    for name, lookup in ({} if lookups is UNSET else lookups).items():
        found[name] = None if lookup is UNSET else _head(f"{path}.{name}", lookup, report, files=files)
    return found


def _head(path: str, lookup: Any, report: Report, *, files: bool) -> list[str] | None:
    """The columns of a lookup's file, after telling what is wrong with its settings."""
    if lookup.file is UNSET or lookup.key is UNSET:
        return None
    if lookup.format is None:
        ends = ", ".join(FORMATS)
        report.add(f"{path}.file", f"{lookup.file.name[:60]!r} does not tell its format", f"name it with one of {ends}")
        return None
    if lookup.format == "mmdb" and lookup.key is not None:
        report.add(f"{path}.key", "an MMDB file is looked up by IP address and has no key", "remove it")
    if lookup.format != "mmdb" and lookup.key is None:
        report.add(path, "missing: 'key'", "name the column that it is looked up by")
    return _columns(path, lookup, report) if files else None


def _columns(path: str, lookup: Lookup, report: Report) -> list[str] | None:
    from flows.lookups.head import HeadProblem, read_head  # here: it reads Parquet, for which it needs Arrow

    try:
        columns = read_head(lookup)
    except HeadProblem as exc:
        report.add(f"{path}.file", str(exc), exc.suggestion)
        return None
    key = lookup.key
    if columns is not None and key is not None and not _has(columns, key):
        report.add(f"{path}.key", f"the file has no column {as_written(key)[:60]!r}", did_you_mean(key, columns))
    return columns


def _check_step(at: str, step: Any, heads: Heads, report: Report) -> None:
    if step.lookup is not UNSET and step.lookup not in heads:
        said = as_written(step.lookup)[:60]
        remedy = did_you_mean(said, heads) if heads else "name its file under `lookups`"
        report.add(f"{at}.lookup", f"unknown lookup {said!r}", remedy)
    columns = heads.get(step.lookup)
    if step.into is not UNSET and _root(step.into) not in ROOTS:
        report.add(
            f"{at}.into", f"{as_written(step.into)[:60]!r} can hold no fields", "name a place in event or metadata"
        )
    fields = [] if step.fields is UNSET else [field for field in step.fields if field is not UNSET]
    for place, field in enumerate(fields):
        if columns is not None and not _has(columns, field):
            what = f"the lookup has no column {as_written(field)[:60]!r}"
            report.add(f"{at}.fields[{place}]", what, did_you_mean(field, columns))
    for name, value in ({} if step.default is UNSET else step.default).items():
        problem = None if value is UNSET else default_problem(value)
        if problem:
            report.add(f"{at}.default.{name}", problem)
        if fields and name not in fields:
            report.add(f"{at}.default.{name}", "is none of `fields`", did_you_mean(name, fields))
        elif not fields and columns is not None and not _has(columns, name):
            report.add(f"{at}.default.{name}", f"the lookup has no column {name[:60]!r}", did_you_mean(name, columns))


def _check_used(path: str, names: set[str], report: Report) -> None:
    for name in names:
        report.add(f"{path}.{name}", "no enrich step names it", "name it in one, or remove it", severity="warning")


def _has(columns: list[str], field: str) -> bool:
    """Whether a field is a column, or may lie in one."""
    folded = {column.lower() for column in columns}
    try:
        first = field_path(field)[0].lower()
    except ValueError:
        first = field.lower()
    return field.lower() in folded or first in folded


def _root(path: str) -> str:
    try:
        return field_path(path)[0].lower()
    except ValueError:
        return ROOTS[0]  # told already
