"""Whether RE2 can run a regular expression, and how it is written for it.

RE2 has no look-around and no atomic groups, but most of those in log patterns only forbid what stands beside them
anyway: `(?<![0-9])` after a space says nothing. From Python's syntax tree it is known which characters can come before
and after each place; where that settles the matter the construct is left out, and nothing changes. Where it does not,
the expression is not for RE2.

Sets of characters are bit masks over ASCII, with one bit for all other characters and one for the edge of the pattern,
where nothing is known of the text.
"""

from __future__ import annotations

import re
import re._constants as sre  # type: ignore[import-not-found]  # the tree's vocabulary; no stubs
import re._parser as parser  # type: ignore[import-not-found]  # the only parser of this syntax at hand; no stubs
import warnings
from typing import Any

OTHER = 1 << 128
EDGE = 1 << 129
ALL = (1 << 129) - 1
_NEWLINE = 1 << 10
_DIGITS = sum(1 << code for code in range(48, 58))

Certainty = tuple[int, int]
"""Whether an item is part of every match, for what stands at the pattern's front and at its back."""

_NEVER = 0
_ALL_DIGITS = 1  # one of several arms is, and each of them takes the digits beside it
_ALWAYS = 2


class NotForRE2(Exception):
    """The expression needs an engine that backtracks."""


def to_re2(text: str) -> str:
    """The same expression for RE2: `g0`, `g1`, … are its groups in this order, the first group is the whole match.

    Raises NotForRE2; re.error where it is no regular expression at all.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = parser.parse(text, re.ASCII)
    names = {number: name for name, number in tree.state.groupdict.items()}
    writing = _Writing(names)
    flags = "i" if tree.state.flags & re.IGNORECASE else ""
    flags += "s" if tree.state.flags & re.DOTALL else ""
    flags += "m" if tree.state.flags & re.MULTILINE else ""
    body = writing.items(list(tree), EDGE, EDGE, (_ALWAYS, _ALWAYS))
    return (f"(?{flags})" if flags else "") + f"{writing.front}({body}){writing.back}"


class _Writing:
    def __init__(self, names: dict[int, str]) -> None:
        self._names = names
        self.front = ""
        self.back = ""

    def items(self, items: list[Any], before: int, after: int, certain: Certainty) -> str:
        """`items` written out; `before` and `after`: what can stand beside them; `certain`: they are matched always."""
        written = []
        for place, item in enumerate(items):
            follow = _first(items[place + 1 :], after)
            lead = _last(items[:place], before)
            written.append(self._item(item, lead, follow, certain))
        return "".join(written)

    def _item(self, item: Any, before: int, after: int, certain: Certainty) -> str:
        kind, value = item
        if kind in (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN):
            return _characters(kind, value)
        if kind is sre.AT:
            return _place(value)
        if kind is sre.SUBPATTERN:
            number, added, removed, inner = value
            opened = "(" if self._names.get(number, "").startswith("g") else "(?:"
            if added or removed:
                opened += _flags(added, removed, opened)
            return f"{opened}{self.items(list(inner), before, after, certain)})"
        if kind is sre.BRANCH:
            arms = [list(arm) for arm in value[1]]
            front = min(certain[0], _ALL_DIGITS if all(_covers_digits(_first(arm, 0)) for arm in arms) else _NEVER)
            back = min(certain[1], _ALL_DIGITS if all(_covers_digits(_last(arm, 0)) for arm in arms) else _NEVER)
            return f"(?:{'|'.join(self.items(arm, before, after, (front, back)) for arm in arms)})"
        if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            return self._repeat(kind, value, before, after)
        if kind is sre.ATOMIC_GROUP:
            inner = list(value)
            if after & _alphabet(inner) or not _deterministic(inner):
                raise NotForRE2("an atomic group")
            return f"(?:{self.items(inner, before, after, certain)})"
        if kind is sre.ASSERT_NOT:
            return self._assertion(value, before, after, certain)
        raise NotForRE2(str(kind).lower().replace("_", " "))

    def _repeat(self, kind: Any, value: Any, before: int, after: int) -> str:
        least, most, inner = value
        items = list(inner)
        if kind is sre.POSSESSIVE_REPEAT and (
            after & _alphabet(items) or not _deterministic([(sre.MAX_REPEAT, value)])
        ):
            raise NotForRE2("a possessive repeat")
        if least > 1000 or (most is not sre.MAXREPEAT and most > 1000):
            raise NotForRE2("a repeat of more than 1000")
        again = most is sre.MAXREPEAT or most > 1
        before |= _last(items, before) if again else 0
        after |= _first(items, after) if again else 0
        body = self.items(items, before, after, (_NEVER, _NEVER))
        upto = "" if most is sre.MAXREPEAT else str(most)
        count = {(0, ""): "*", (1, ""): "+", (0, "1"): "?"}.get((least, upto), f"{{{least},{upto}}}")
        return f"(?:{body}){count}{'?' if kind is sre.MIN_REPEAT else ''}"

    def _assertion(self, value: Any, before: int, after: int, certain: Certainty) -> str:
        direction, inner = value
        items = list(inner)
        if len(items) != 1 or items[0][0] not in (sre.LITERAL, sre.NOT_LITERAL, sre.IN, sre.ANY):
            raise NotForRE2("look-around")
        forbidden = _mask(items[0])
        beside = before if direction < 0 else after
        if not beside & (forbidden | EDGE):
            return ""
        # At the edge of the whole pattern the character beside it may be part of the match, for it is in no group.
        sure = certain[0 if direction < 0 else 1]
        if beside != EDGE or not (sure == _ALWAYS or (sure == _ALL_DIGITS and forbidden == _DIGITS)):
            raise NotForRE2("look-around")
        guard = _complement(items[0])
        if direction < 0:
            self.front = rf"(?:\A|{guard})"
        else:
            self.back = rf"(?:\z|{guard})"
        return ""


def _characters(kind: Any, value: Any) -> str:
    if kind is sre.LITERAL:
        return _literal(value)
    if kind is sre.NOT_LITERAL:
        return f"[^{_literal(value)}]"
    return "." if kind is sre.ANY else _class(value)


def _literal(code: int) -> str:
    character = chr(code)
    return character if character.isalnum() or character in " _" or code > 127 else f"\\x{{{code:x}}}"


_CATEGORIES = {
    sre.CATEGORY_DIGIT: r"\d",
    sre.CATEGORY_NOT_DIGIT: r"\D",
    sre.CATEGORY_SPACE: r"\s\x0b",  # RE2's \s has no vertical tab
    sre.CATEGORY_NOT_SPACE: r"\S",
    sre.CATEGORY_WORD: r"\w",
    sre.CATEGORY_NOT_WORD: r"\W",
}


def _covers_digits(mask: int) -> bool:
    return mask & _DIGITS == _DIGITS


def _class(parts: list[Any]) -> str:
    written = []
    for kind, value in parts:
        if kind is sre.NEGATE:
            continue
        if kind is sre.RANGE:
            written.append(f"{_literal(value[0])}-{_literal(value[1])}")
        else:
            written.append(_literal(value) if kind is sre.LITERAL else _CATEGORIES[value])
    negated = bool(parts) and parts[0][0] is sre.NEGATE
    return f"[{'^' if negated else ''}{''.join(written)}]"


def _complement(item: Any) -> str:
    kind, value = item
    if kind is sre.LITERAL:
        return _characters(sre.NOT_LITERAL, value)
    if kind is sre.NOT_LITERAL:
        return _characters(sre.LITERAL, value)
    if kind is sre.ANY:
        return r"\n"
    return _class(value[1:] if value[0][0] is sre.NEGATE else [(sre.NEGATE, None), *value])


def _place(value: Any) -> str:
    places = {
        sre.AT_BEGINNING: "^",
        sre.AT_BEGINNING_STRING: r"\A",
        sre.AT_END: "$",
        sre.AT_END_STRING: r"\z",
        sre.AT_BOUNDARY: r"\b",
        sre.AT_NON_BOUNDARY: r"\B",
    }
    return places[value]


def _flags(added: int, removed: int, opened: str) -> str:
    if opened == "(":
        raise NotForRE2("flags of a capture")
    letters = {re.IGNORECASE: "i", re.DOTALL: "s", re.MULTILINE: "m"}
    on = "".join(letter for flag, letter in letters.items() if added & flag)
    off = "".join(letter for flag, letter in letters.items() if removed & flag)
    return f"(?{on}{'-' + off if off else ''})"


def _mask(item: Any) -> int:
    """The characters that a single-character item matches."""
    kind, value = item
    if kind is sre.ANY:
        return ALL & ~_NEWLINE
    if kind is sre.LITERAL:
        return 1 << value if value < 128 else OTHER
    if kind is sre.NOT_LITERAL:
        return ALL & ~(1 << value) if value < 128 else ALL
    mask = 0
    for part, inner in value:
        if part is sre.LITERAL:
            mask |= _mask((part, inner))
        elif part is sre.RANGE:
            low, high = inner
            mask |= sum(1 << code for code in range(low, min(high, 127) + 1)) | (OTHER if high > 127 else 0)
        elif part is sre.CATEGORY:
            pattern = re.compile(_CATEGORIES[inner][:2], re.ASCII)
            mask |= sum(1 << code for code in range(128) if pattern.match(chr(code)))
            mask |= OTHER if pattern.match("\u2603") else 0
    if value[0][0] is sre.NEGATE:
        return ALL & ~(mask & ~OTHER)
    return mask


def _ends(items: list[Any], beside: int, *, last: bool) -> int:
    """The characters that can begin (or end) what `items` match; `beside` too where they can match nothing."""
    mask = 0
    for item in reversed(items) if last else items:
        found, empty = _end(item, last=last)
        mask |= found
        if not empty:
            return mask
    return mask | beside


def _end(item: Any, *, last: bool) -> tuple[int, bool]:
    kind, value = item
    if kind in (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN):
        return _mask(item), False
    if kind in (sre.SUBPATTERN, sre.ATOMIC_GROUP):
        inner = list(value[3] if kind is sre.SUBPATTERN else value)
        mask = _ends(inner, EDGE, last=last)
        return mask & ~EDGE, bool(mask & EDGE)
    if kind is sre.BRANCH:
        masks = [_ends(list(arm), EDGE, last=last) for arm in value[1]]
        union = 0
        for mask in masks:
            union |= mask
        return union & ~EDGE, bool(union & EDGE)
    if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        mask = _ends(list(value[2]), EDGE, last=last)
        return mask & ~EDGE, value[0] == 0 or bool(mask & EDGE)
    if kind is sre.AT:
        if value in (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING) and last:
            return _NEWLINE, False
        if value in (sre.AT_END, sre.AT_END_STRING) and not last:
            return _NEWLINE, False
        # A boundary narrows what is beside it, which look-around can rely on; an atomic group before it cannot be told.
        return (ALL, True) if not last else (0, True)
    if kind in (sre.ASSERT, sre.ASSERT_NOT):
        return 0, True
    return ALL, True


def _first(items: list[Any], after: int) -> int:
    return _ends(items, after, last=False)


def _last(items: list[Any], before: int) -> int:
    return _ends(items, before, last=True)


def _alphabet(items: list[Any]) -> int:
    """Every character that can be part of what `items` match."""
    mask = 0
    for kind, value in items:
        if kind in (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN):
            mask |= _mask((kind, value))
        elif kind is sre.SUBPATTERN:
            mask |= _alphabet(list(value[3]))
        elif kind is sre.BRANCH:
            for arm in value[1]:
                mask |= _alphabet(list(arm))
        elif kind in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            mask |= _alphabet(list(value[2]))
        elif kind is sre.ATOMIC_GROUP:
            mask |= _alphabet(list(value))
        else:
            mask |= ALL
    return mask


def _deterministic(items: list[Any]) -> bool:
    """Whether the next character alone always says how to go on, so that there is one way to match the most."""
    for place, (kind, value) in enumerate(items):
        rest = _first(items[place + 1 :], 0)
        if kind is sre.SUBPATTERN and not _deterministic(list(value[3])):
            return False
        if kind is sre.BRANCH:
            taken = 0
            for arm in value[1]:
                first = _first(list(arm), EDGE)
                if first & (taken | EDGE) or not _deterministic(list(arm)):
                    return False
                taken |= first
        if kind in (sre.MIN_REPEAT, sre.ASSERT, sre.ASSERT_NOT, sre.AT, sre.GROUPREF):
            return False
        if kind is sre.MAX_REPEAT:
            inner = list(value[2])
            first = _first(inner, EDGE)
            if first & EDGE or not _deterministic(inner) or (value[0] != value[1] and first & rest):
                return False
    return True
