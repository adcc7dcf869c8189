"""What `mask` is told: paths, and what becomes of what is there."""

from __future__ import annotations

from typing import Literal

import msgspec

from flows.columns import Path
from flows.steps.targets import parse_path

MaskKind = Literal["redact", "last4", "hash", "hmac", "ip24", "null", "pii"]


class Mask(msgspec.Struct, frozen=True):
    """Masks what is at each path of `fields` and all that is below it, whatever the case of its letters.

    `*` stands for every name of one level; a list is passed through. Where several paths reach a value, the one with
    the most names takes it, so `event.*: pii` beside `event.card: last4` leaves four digits of the card. `hmac` needs
    the `mask_key` of the stream or of the file. What `_rescued` gets is masked alike.

    `redact` leaves `[redacted]`, `last4` the last four characters, `hash` the SHA-256, `hmac` a keyed one with the key's
    id before it, `ip24` the address's network, `null` nothing. `pii` finds e-mail addresses, phone numbers, IP addresses,
    IBANs, payment cards, US social security numbers, JWTs and cloud keys anywhere in a text.

        mask_key: "${MASK_KEY}"
        steps:
          - mask: {event.card: last4, event.email: hmac, event.*: pii}
    """

    fields: dict[str, MaskKind]


def mask_problem(text: str) -> str | None:
    """Why `mask` cannot mask this path; None when it can."""
    try:
        path = parse_path(text)
    except ValueError as exc:
        return str(exc)
    if path[0] in ("event", "metadata") and len(path) > 1:
        return None
    return f"cannot mask {text!r}: only fields below event and metadata"


class Rules(msgspec.Struct, frozen=True):
    """The paths of a step that are still to be walked from some place in the event: (rank, parts, kind) each.

    A rule without parts left covers the place and all below it; the highest rank decides.
    """

    left: tuple[tuple[tuple[int, int], Path, MaskKind], ...]

    @property
    def kind(self) -> MaskKind | None:
        """What becomes of a value that is here."""
        return max(((rank, kind) for rank, parts, kind in self.left if not parts), default=(None, None))[1]

    def below(self, part: str) -> Rules:
        """The rules at the member `part` of an object that is here."""
        name = part.lower()
        return Rules(
            tuple(
                (rank, parts[1:], kind)
                for rank, parts, kind in self.left
                if not parts or parts[0] == "*" or parts[0] == name
            )
        )

    def inside(self) -> Rules:
        """The rules at the elements of a list that is here: a `*` may stand for the element, and need not."""
        skipped = ((rank, parts[1:], kind) for rank, parts, kind in self.left if parts and parts[0] == "*")
        return Rules((*self.left, *skipped))

    def at(self, path: Path) -> Rules:
        """The rules at `path` below here."""
        rules = self
        for part in path:
            rules = rules.below(part)
        return rules


def rules_of(step: Mask) -> Rules:
    """The rules of a step at the root of an event; ValueError for a path that cannot be masked."""
    left = []
    for number, (text, kind) in enumerate(step.fields.items()):
        problem = mask_problem(text)
        if problem:
            raise ValueError(problem)
        parts = tuple(part.lower() for part in parse_path(text))
        left.append(((sum(part != "*" for part in parts), number), parts, kind))
    return Rules(tuple(left))
