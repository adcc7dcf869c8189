"""The kinds of value a setting can have beyond YAML's own: sizes, durations, secrets.

They are plain `int`, `timedelta` and `str` to the code that uses them; the annotation tells `flows.config` how a person
writes them (`50MB`, `1h`, `${TOKEN}`) and what the JSON Schema says.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import msgspec


class Kind(msgspec.Struct, frozen=True):
    """Marks an annotated type as written in a form of its own."""

    name: str


class Between(msgspec.Struct, frozen=True):
    """The shortest and the longest duration that a setting takes."""

    least: timedelta
    most: timedelta


Bytes = Annotated[int, msgspec.Meta(ge=1), Kind("size")]
"""A number of bytes, written as a number or as `50MB` (10^6), `1GiB` (2^30), …"""

Duration = Annotated[timedelta, Between(timedelta(0), timedelta(days=36_500))]
"""A length of time, written with its unit: `500ms`, `10s`, `5m`, `1h`, `7d`, `1h30m`."""


class Secret(str):
    """A string that must not be shown: `repr` hides it, so a setting, a log line or a traceback does not give it away.

    `template` is what the configuration says in its place, e.g. `${TOKEN}`. Secrets are equal when their values are.
    """

    __slots__ = ("template",)

    template: str

    def __new__(cls, value: str, template: str = "***") -> Secret:
        secret = super().__new__(cls, value)
        secret.template = template
        return secret

    def __repr__(self) -> str:
        return f"Secret({self.template!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Secret, (str.__str__(self), self.template)


def as_written(text: str) -> str:
    """`text` as the configuration has it: what a message may show."""
    return text.template if isinstance(text, Secret) else text
