"""The nodes of a YAML document: texts, lists and mappings with their places, nothing interpreted."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Mark(msgspec.Struct, frozen=True, gc=False):
    """A place in the text: its index in characters, and line and column, all from 0."""

    index: int
    line: int
    column: int


class Scalar(msgspec.Struct, eq=False):
    """A scalar's text. `style` is `'`, `"`, `|`, `>` or empty for a plain one; `tag` is the short name of its tag."""

    text: str
    style: str
    start: Mark
    end: Mark
    tag: str = ""

    @property
    def is_null(self) -> bool:
        """Whether YAML's core schema reads it as null."""
        return not self.style and self.tag in ("", "null") and self.text in ("", "~", "null", "Null", "NULL")


class Sequence(msgspec.Struct, eq=False):
    """A list."""

    items: list[Node]
    start: Mark
    flow: bool = False


class Mapping(msgspec.Struct, eq=False):
    """A mapping: its entries in the order written, merge keys resolved, duplicates already reported and left out."""

    entries: list[tuple[Scalar, Node]]
    start: Mark
    flow: bool = False


Node: TypeAlias = Scalar | Sequence | Mapping
