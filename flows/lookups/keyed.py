"""Rows in memory, found by the text of their key.

The index is the sorted 64-bit hashes of the keys: 8 bytes a row, searched by a binary search of NumPy's, and every row
found is compared by its text. A hash table of Python's would take ten times that, and hold the interpreter while it is
made. DuckDB's hash is used on both sides because it makes them of a whole column at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.lookups.table import Leaf, below


class KeyedTable:
    """Rows by key. `keys` (string) are distinct and in the order of `hashes` (uint64), as are the `columns`."""

    def __init__(self, keys: pa.Array, hashes: pa.Array, leaves: Sequence[Leaf], columns: Sequence[pa.Array]) -> None:
        self.leaves = tuple(leaves)
        self._keys = keys
        self._hashes = hashes.to_numpy(zero_copy_only=False)
        self._columns = {leaf.path: column for leaf, column in zip(leaves, columns, strict=True)}
        self._longest = _longest_run(self._hashes)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def nbytes(self) -> int:
        """The bytes of memory that the rows and their index take."""
        return int(self._hashes.nbytes + self._keys.nbytes + sum(column.nbytes for column in self._columns.values()))

    def chosen(self, field: str) -> Sequence[Leaf]:
        return below(field, self.leaves)

    def find(self, hashes: pa.ChunkedArray, texts: pa.ChunkedArray, leaves: Sequence[Leaf]) -> pa.StructArray:
        rows = self._rows(hashes.to_numpy(), texts)
        found = pa.array(np.maximum(rows, 0), mask=rows < 0)
        columns = [self._columns[leaf.path].take(found) for leaf in leaves]
        names = ["hit", *(f"c{number}" for number in range(len(leaves)))]
        return pa.StructArray.from_arrays([pa.array(rows >= 0), *columns], names=names)

    def _rows(self, hashes: np.ndarray, texts: pa.ChunkedArray) -> np.ndarray:
        """The row of each text; -1 where there is none."""
        rows = np.full(len(hashes), -1, np.int64)
        if not len(self._keys):
            return rows
        at = np.searchsorted(self._hashes, hashes)
        last = len(self._keys) - 1
        for further in range(self._longest):  # keys of one hash lie side by side
            candidate = np.minimum(at + further, last)
            same = pc.fill_null(pc.equal(self._keys.take(pa.array(candidate)), texts), False)
            hit = same.to_numpy(zero_copy_only=False)
            rows[hit] = candidate[hit]
        return rows


def _longest_run(hashes: np.ndarray) -> int:
    """How many keys share a hash at most: one, but for an accident."""
    if not len(hashes):
        return 1
    starts = np.flatnonzero(np.concatenate(([True], hashes[1:] != hashes[:-1])))
    return int(np.diff(np.append(starts, len(hashes))).max())
