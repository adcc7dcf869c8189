"""What is wrong with the settings of a destination: all of it at once, each with the key it is about.

A complaint is a sentence `key: what is wrong; remedy`. It shows nothing of a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


class Complaints(ValueError):
    """`told` are the complaints, one or more."""

    def __init__(self, told: tuple[str, ...]) -> None:
        self.told = told
        super().__init__("; ".join(told))


def refuse(complaints: Iterable[str]) -> None:
    """Raises Complaints if there are any."""
    if told := tuple(dict.fromkeys(complaints)):
        raise Complaints(told)


def complained(key: str, check: Callable[[Any], object], value: Any) -> Iterator[str]:
    """What `check` says of the value of `key` with a ValueError."""
    try:
        check(value)
    except ValueError as exc:
        yield f"{key}: {exc}"
