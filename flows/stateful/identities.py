"""Ids of a rollup's rows: of its table, the window's start and a hash of what the row is by, so a replay gives the same.

Windows that close together have few starts between them, and the same groups come again from window to window: both are
written and hashed once, not for each row.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_REMEMBERED = 65_536  # groups, and of none whose values are longer than this:
_LONG = 256


class Identities:
    """The ids of the rows of `table`, whose windows begin at whole seconds or not. Belongs to one thread."""

    def __init__(self, table: str, *, seconds: bool) -> None:
        self._prefix = f"{table}/"
        self._unit = "s" if seconds else "us"
        self._hashes: dict[str, str] = {}

    def of(self, starts: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.Array:
        """The id of each row, by its window's start (int64, UTC microseconds) and its values (a JSON array of texts)."""
        start, value = (pc.dictionary_encode(_one(column)) for column in (starts, values))
        begins = np.datetime_as_string(start.dictionary.to_numpy().astype("M8[us]").astype(f"M8[{self._unit}]"))
        texts = pa.array([f"{self._prefix}{begin}Z/" for begin in begins], pa.string())
        hashes = pa.array([self._hash(text) for text in value.dictionary.to_pylist()], pa.string())
        return pc.binary_join_element_wise(texts.take(start.indices), hashes.take(value.indices), "")

    def _hash(self, text: str) -> str:
        found = self._hashes.get(text)
        if found is None:
            found = sha256(text.encode()).hexdigest()[:16]
            if len(self._hashes) >= _REMEMBERED:
                self._hashes.clear()
            if len(text) <= _LONG:
                self._hashes[text] = found
        return found


def _one(column: pa.ChunkedArray) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
