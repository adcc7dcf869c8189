"""Where in the file a character of a scalar's text stands, whatever style the scalar is written in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from flows.config.nodes import Mark, Scalar

_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_ESCAPED_SPACES = "ntr \tNLP_vf\n"  # the escapes that stand for white space or for nothing


def place_in(scalar: Scalar, offset: int, text: str) -> Mark:
    """The place of character `offset` of the scalar's text in the document `text`.

    YAML folds and indents white space and leaves the rest alone, so it is found by counting the other characters.
    """
    wanted = sum(not char.isspace() for char in scalar.text[:offset])
    last = scalar.start.index
    for index in _written(scalar, text):
        last = index
        if wanted == 0:
            return _mark(scalar, index, text)
        wanted -= 1
    return _mark(scalar, last + 1 if scalar.text.strip() else scalar.start.index, text)


def _written(scalar: Scalar, text: str) -> Iterator[int]:
    """The index of every character of the scalar's text that is not white space."""
    at, end = scalar.start.index, scalar.end.index
    if scalar.style in ("|", ">"):
        at = text.find("\n", at, end) + 1 or end
    elif scalar.style:
        at, end = at + 1, end - 1
    while at < end:
        step, blank = 1, text[at].isspace()
        if scalar.style == "'" and text.startswith("''", at):
            step = 2
        elif scalar.style == '"' and (escape := _ESCAPE.match(text, at)):
            step = len(escape[0])
            code = escape[1] or escape[2] or escape[3]
            blank = chr(int(code, 16)).isspace() if code else escape[4] in _ESCAPED_SPACES
        if not blank:
            yield at
        at += step


def _mark(scalar: Scalar, index: int, text: str) -> Mark:
    before = text[scalar.start.index : index]
    lines = before.count("\n")
    column = scalar.start.column + len(before) if lines == 0 else len(before) - before.rfind("\n") - 1
    return Mark(index, scalar.start.line + lines, column)
