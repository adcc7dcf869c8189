"""`${NAME}` in a text: the environment's value in its place, so that a configuration names secrets and holds none.

`${NAME:-default}` stands for the default where NAME is not set or empty; `$${` is a literal `${`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
_WORD = re.compile(r"\w{4,}")
_INSIDE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


class Expansion(msgspec.Struct, frozen=True):
    """A text with its references replaced; `values` are what was put in, by reference; `missing` what could not be."""

    text: str
    values: dict[str, str]
    missing: list[str]
    malformed: list[str]

    def redact(self, message: str) -> str:
        """`message` with the values that came from the environment replaced by their references."""
        for reference, value in sorted(self.values.items(), key=lambda item: -len(item[1])):
            message = message.replace(value, reference) if value else message
        if any(piece in message for value in self.values.values() for piece in _WORD.findall(value)):
            return f"is not right once {', '.join(self.values)} is replaced"
        return message


def expand(text: str, environment: Mapping[str, str]) -> Expansion:
    """`text` with every `${NAME}` replaced. A reference that cannot be replaced is named and stays as it is."""
    expansion = Expansion("", {}, [], [])

    def replacement(match: re.Match[str]) -> str:
        reference = match.group(0)
        if reference == "$${":
            return "${"
        inside = _INSIDE.fullmatch(match.group(1))
        if inside is None:
            expansion.malformed.append(reference)
            return reference
        name, default = inside.groups()
        value = environment.get(name) or default
        if value is None and name not in environment:
            expansion.missing.append(name)
            return reference
        expansion.values[reference] = value or ""
        return value or ""

    return msgspec.structs.replace(expansion, text=_REFERENCE.sub(replacement, text))
