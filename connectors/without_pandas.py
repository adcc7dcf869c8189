"""Arrow without pandas: no process of the dataflow has a use for it, and Arrow would import it with the first array made
of a list, where it is installed. That takes longer than the first 100,000 events do.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec

import pyarrow as pa


def leave_pandas_alone() -> None:
    """Has Arrow look for pandas now, and not find it. Whoever asks for pandas itself, then or later, gets it."""
    refusing = _Refusing()
    sys.meta_path.insert(0, refusing)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(refusing)


class _Refusing:
    """A finder that says of pandas that it is not there (implements `importlib.abc.MetaPathFinder`)."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        if name == "pandas":
            raise ModuleNotFoundError(name)
        return None
