"""Texts that mean something: names, identifiers, paths of fields, SQL types and SQL expressions."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable

from flows.columns import dotted
from flows.config import scalars, sqltypes
from flows.config.environment import Expansion
from flows.config.nodes import Scalar
from flows.config.paths import ROOTS, field_path
from flows.config.places import place_in
from flows.config.report import Report

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def name(text: str) -> str:
    """A name of a stream or a destination."""
    if not _NAME.fullmatch(text):
        shown = text if len(text) <= 60 else text[:57] + "..."
        remedy = "1 to 100 of A-Z a-z 0-9 _ -, beginning with a letter or a digit"
        raise ValueError(f"{shown!r} cannot be a name; {remedy}")
    return text


def path(text: str) -> str:
    """The path of a field that a step can write, in its one spelling."""
    parts = field_path(text)
    if parts[0].lower() not in ROOTS and parts not in (("source",), ("timestamp",)):
        root = difflib.get_close_matches(parts[0].lower()[:100], ROOTS, n=1)
        meant = dotted((root[0], *parts[1:]) if root and len(parts) > 1 else ("event", *parts))
        raise ValueError(f"{text[:60]!r} is no field of an event that can be written; did you mean '{meant[:60]}'?")
    return dotted((parts[0].lower(), *parts[1:]))


def identifier(text: str) -> str:
    """A name that becomes a field or a column."""
    if not _IDENTIFIER.fullmatch(text):
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise ValueError(f"{shown!r} cannot be a name; 1 to 64 of A-Z a-z 0-9 _, beginning with a letter or _")
    return text


def check_sql(kind: str | None, node: Scalar, expansion: Expansion, at: str, document: str, report: Report) -> str:
    """SQL of a `kind` of `SQL`; what is wrong with it is told at its place within the scalar."""
    if node.is_null:
        return "NULL"
    if not expansion.text.strip():
        raise ValueError("expected an SQL expression")
    from flows import expression  # here: it asks DuckDB for its functions, which few commands need

    check = expression.check if kind == "expression" else expression.check_aggregate
    for problem in check(expansion.text):
        mark = node.start if expansion.values else place_in(node, problem.offset, document)
        report.add(at, expansion.redact(problem.message), expansion.redact(problem.suggestion or "") or None, mark=mark)
    return expansion.text


SQL = ("expression", "aggregate")
"""The kinds of text that are SQL."""

TEXTS: dict[str | None, Callable[[str], str]] = {
    "name": name,
    "uuid": scalars.uuid,
    "type": sqltypes.canonical,
    "path": path,
    "identifier": identifier,
}
"""By `Kind`: the text in its one spelling; ValueError says what is wrong and, after a semicolon, the remedy."""
