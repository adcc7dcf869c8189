"""A package that is installed, and that another would import without need, is not found for a while."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Whoever imports the package `name` for the first time meanwhile gets an ImportError."""
    finder = _Refusing(name)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Refusing:
    """A finder that says of one package that it is not there (implements `importlib.abc.MetaPathFinder`)."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        if name == self._name:
            raise ModuleNotFoundError(name, name=name)
        return None
