"""Reads one scalar as what its setting is: a number, a duration, a secret, one of a few words, a meaningful text."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import UNSET

from connectors.values import Between, Kind, Secret
from flows.config import nodes, scalars
from flows.config.environment import Expansion, expand
from flows.config.nodes import Node, Scalar
from flows.config.report import Report, did_you_mean
from flows.config.texts import SQL, TEXTS, check_sql

NUMBERS: dict[type, Callable[[str], Any]] = {int: scalars.integer, float: scalars.number, bool: scalars.boolean}

_CREDENTIAL_IN_URL = re.compile(r"://[^/@\s:]*:[^/@\s]+@")
_EXPECTED: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    timedelta: "a duration such as 10s",
    Path: "a path",
    "size": "a size such as 50MB",
    "expression": "an SQL expression",
    "aggregate": "an aggregate such as count(*)",
    "identifier": "a name",
    "path": "the path of a field",
    "type": "a type such as DOUBLE",
    "uuid": "a UUID",
    "name": "a name",
}


class Surroundings(msgspec.Struct, frozen=True):
    """What reading a scalar needs beside it: the document's text, its directory, the environment, the report."""

    report: Report
    text: str
    base: Path
    environment: Mapping[str, str]


def read_leaf(kind: Any, marks: tuple[Any, ...], node: Node, path: str, around: Surroundings) -> Any:
    """`node` as a `kind` (annotated by `marks`); UNSET after telling what is wrong with it."""
    meaning = next((mark.name for mark in marks if isinstance(mark, Kind)), None)
    if isinstance(node, Scalar) and node.is_null and get_origin(kind) is Literal and node.text in get_args(kind):
        return node.text  # `null` is a word here
    if not isinstance(node, Scalar) or (node.is_null and not (meaning == "expression" and node.text)):
        return wrong(around.report, path, node, _expected(kind, meaning))
    expansion = expand(node.text, around.environment)
    if expansion.missing or expansion.malformed:
        return _unset(expansion, node, path, around.report)
    if kind is Secret:
        return _secret(expansion, node, path, around.report)
    try:
        if meaning in SQL:
            return check_sql(meaning, node, expansion, path, around.text, around.report)
        return _value(kind, meaning, marks, node, expansion, path, around)
    except ValueError as exc:
        message, _, remedy = str(exc).partition("; ")
        if message.startswith("expected"):
            message += f", got {shown(node)}"
        around.report.add(path, expansion.redact(message), expansion.redact(remedy) or None, mark=node.start)
        return UNSET


def read_key(kind: Any, key: Scalar, path: str, report: Report) -> str:
    """A key of a mapping as a `kind`; as it is, after telling what is wrong with it. A key is never replaced."""
    meaning = next((mark.name for mark in getattr(kind, "__metadata__", ()) if isinstance(mark, Kind)), None)
    try:
        return TEXTS[meaning](key.text) if meaning in TEXTS else key.text
    except ValueError as exc:
        message, _, remedy = str(exc).partition("; ")
        report.add(path, message, remedy or None, mark=key.start)
        return key.text


def wrong(report: Report, path: str, node: Node, expected: str, suggestion: str | None = None) -> Any:
    """Tells that `node` is not what was expected."""
    report.add(path, f"expected {expected}, got {shown(node)}", suggestion, mark=node.start)
    return UNSET


def shown(node: Node) -> str:
    """A node as a message names it."""
    if isinstance(node, nodes.Mapping):
        return "a mapping"
    if isinstance(node, nodes.Sequence):
        return "a list"
    if node.is_null:
        return "nothing"
    return repr(node.text if len(node.text) <= 60 else node.text[:57] + "...")


def _value(
    kind: Any,
    meaning: str | None,
    marks: tuple[Any, ...],
    node: Scalar,
    expansion: Expansion,
    path: str,
    around: Surroundings,
) -> Any:
    text = expansion.text
    if get_origin(kind) is Literal:
        return _choice(text, get_args(kind), node, expansion)
    if kind is timedelta:
        return _between(scalars.duration(text), marks)
    if meaning == "size":
        return _within(scalars.size(text), marks)
    if kind in NUMBERS:
        if node.style and not expansion.values:
            raise ValueError(f"expected {_EXPECTED[kind]} without quotes")
        return _within(NUMBERS[kind](text), marks)
    if meaning in TEXTS:
        read = TEXTS[meaning](text)
        return Secret(read, node.text) if expansion.values else read
    if not node.style and not expansion.values and node.tag != "str" and is_other_scalar(text):
        raise ValueError(f'expected a text; quote it: "{text}"')
    _within(text, marks)
    if kind is Path:
        return Path(os.path.normpath(around.base / Path(text).expanduser()))
    if expansion.values:
        return Secret(text, node.text)
    if _CREDENTIAL_IN_URL.search(text):
        around.report.add(
            path, "a password in the file itself", "name it: ${ENV_NAME}", mark=node.start, severity="warning"
        )
        return Secret(text)
    return text


def is_other_scalar(text: str) -> bool:
    """Whether YAML reads a plain scalar as a number or a boolean."""
    for read in NUMBERS.values():
        try:
            read(text)
        except ValueError:
            continue
        return True
    return False


def _unset(expansion: Expansion, node: Scalar, path: str, report: Report) -> Any:
    for name in dict.fromkeys(expansion.missing):
        remedy = f"set it, or write ${{{name}:-a default}}"
        report.add(path, f"the environment variable {name} is not set", remedy, mark=node.start)
    for reference in expansion.malformed:
        remedy = "write ${NAME}; a literal '${' is written '$${'"
        report.add(path, f"{reference[:60]!r} names no environment variable", remedy, mark=node.start)
    return UNSET


def _secret(expansion: Expansion, node: Scalar, path: str, report: Report) -> Secret:
    if expansion.values:
        return Secret(expansion.text, node.text)
    if node.text:
        report.add(path, "a secret in the file itself", "name it: ${ENV_NAME}", mark=node.start, severity="warning")
    return Secret(expansion.text)


def _choice(text: str, choices: tuple[str, ...], node: Scalar, expansion: Expansion) -> str:
    if text in choices:
        return text
    suggestion = None if expansion.values else did_you_mean(text, choices)
    message = f"{shown(node)} is none of {', '.join(choices)}"
    raise ValueError(f"{message}; {suggestion}" if suggestion and "did you mean" in suggestion else message)


def _within(value: Any, marks: tuple[Any, ...]) -> Any:
    for meta in marks:
        if not isinstance(meta, msgspec.Meta):
            continue
        if meta.ge is not None and value < meta.ge:
            raise ValueError(f"{value:,} is too small; at least {meta.ge:,}")
        if meta.gt is not None and value <= meta.gt:
            raise ValueError(f"{value:,} is too small; more than {meta.gt:,}")
        if meta.le is not None and value > meta.le:
            raise ValueError(f"{value:,} is too large; at most {meta.le:,}")
        if meta.min_length is not None and len(value) < meta.min_length:
            raise ValueError("is empty")
    return value


def _between(value: timedelta, marks: tuple[Any, ...]) -> timedelta:
    for bounds in marks:
        if isinstance(bounds, Between) and not bounds.least <= value <= bounds.most:
            least, most = scalars.described(bounds.least), scalars.described(bounds.most)
            raise ValueError(f"{scalars.described(value)} is out of range; from {least} to {most}")
    return value


def _expected(kind: Any, meaning: str | None) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    return _EXPECTED.get(meaning or kind, "a text")
