"""What a lookup gives: leaf columns, and for each text the row that it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import pyarrow as pa

from connectors.errors import HeadraceError
from flows.columns import Path, dotted
from flows.steps.targets import parse_path


class LookupFailed(HeadraceError):
    """A file that cannot be taken as a lookup, and why."""


class Leaf(msgspec.Struct, frozen=True):
    """A column of a lookup: its path within the row and its DuckDB type. What is not `usual` is given only if named."""

    path: Path
    type: str
    usual: bool = True

    @property
    def stored(self) -> str:
        """The type that it is handed over in: JSON as its text."""
        return "VARCHAR" if self.type == "JSON" else self.type


class Table(Protocol):
    """One generation of a lookup."""

    @property
    def leaves(self) -> Sequence[Leaf]:
        """All columns that are known."""

    def chosen(self, field: str) -> Sequence[Leaf]:
        """The columns at and below a field of a row; none where there is no such field."""

    def find(self, hashes: pa.ChunkedArray, texts: pa.ChunkedArray, leaves: Sequence[Leaf]) -> pa.StructArray:
        """For each text a struct of `hit` (BOOLEAN) and `c0`, `c1`, … the `leaves`; all NULL but `hit` in a miss.

        `hashes` (uint64) are DuckDB's of the texts. A NULL text is a miss.
        """


def below(field: str, leaves: Sequence[Leaf]) -> list[Leaf]:
    """The leaves at and below `field`: as it is written where there is one so, else whatever the case of its letters."""
    try:
        paths = {(field,), parse_path(field)}
    except ValueError:
        paths = {(field,)}
    for folded in (False, True):
        wanted = {tuple(map(str.lower, path)) for path in paths} if folded else paths
        found = [leaf for leaf in leaves if any(_begins(leaf.path, path, folded) for path in wanted)]
        if found:
            return found
    return []


def struct_type(leaves: Sequence[Leaf]) -> str:
    """The DuckDB type of what `Table.find` gives."""
    return "STRUCT(" + ", ".join(["hit BOOLEAN", *(f"c{n} {leaf.stored}" for n, leaf in enumerate(leaves))]) + ")"


def named(leaves: Sequence[Leaf]) -> list[str]:
    """The leaves as a person writes them."""
    return [dotted(leaf.path) for leaf in leaves]


def _begins(path: Path, start: Path, folded: bool) -> bool:
    first = path[: len(start)]
    return (tuple(map(str.lower, first)) if folded else first) == start
