"""Grok: `%{NAME:capture:type}` written out to one regular expression."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from flows.columns import Path
from flows.steps.parse.library import ECS, LEGACY

TYPES = {
    "int": "BIGINT",
    "integer": "BIGINT",
    "long": "BIGINT",
    "float": "DOUBLE",
    "double": "DOUBLE",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "bool": "BOOLEAN",
    "string": "VARCHAR",
}
MAX_CHARACTERS = 200_000
_MAX_DEPTH = 50

_REFERENCE = re.compile(r"%\{(?P<name>\w+)(?::(?P<capture>[^}:]+)(?::(?P<type>\w+))?)?\}")
_BRACKETED = re.compile(r"\[([^\[\]]+)\]")
_NAMED = re.compile(r"\(\?P?<(?![=!])(?P<name>[^>]+)>")
_POSIX = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\s",
    "upper": "A-Z",
    "word": r"\w",
    "xdigit": "0-9A-Fa-f",
}


class Capture(msgspec.Struct, frozen=True):
    """A group that is wanted: where it goes, and the DuckDB type it is read as."""

    path: Path
    type: str = "VARCHAR"


class Expanded(msgspec.Struct, frozen=True):
    """`text`: a regular expression whose wanted groups are named `g0`, `g1`, …, in the order of `captures`."""

    text: str
    captures: tuple[Capture, ...]


class UnknownPattern(ValueError):
    """No pattern of this name; `known` are those there are."""

    def __init__(self, name: str, known: frozenset[str]) -> None:
        super().__init__(f"unknown pattern %{{{name}}}")
        self.name = name
        self.known = known


def expand(pattern: str, own: Mapping[str, str], *, ecs: bool) -> Expanded:
    """The pattern written out, with `own` patterns before the library's. Raises UnknownPattern, ValueError."""
    library = {**(ECS if ecs else LEGACY), **own}
    return captures_of(_with_flags_of_ruby(_written_out(pattern, library, 0, [0])))


def _with_flags_of_ruby(text: str) -> str:
    """The same for engines where `.` takes a line's end by the flag `s`: Ruby, and so grok, calls that flag `m`.

    A flag holds from where it stands to the end of its group, and `^` and `$` are the ends of a line without any.
    """

    def renamed(match: re.Match[str]) -> str:
        escapes = len(match["escapes"]) % 2
        return match[0] if escapes else f"{match['escapes']}(?{match['flags'].replace('m', 's')}{match['end']}"

    spelled = re.sub(r"(?P<escapes>\\*)\(\?(?P<flags>[imsx]*(?:-[imsx]+)?)(?P<end>[:)])", renamed, text)
    head = re.match(r"(?:\(\?[isx]+\))+", spelled)
    start = head.end() if head else 0
    opened = re.compile(r"\(\?([isx]+)\)")
    # What is not at the front becomes a group of its own; only those that end with the pattern can be closed so.
    while (found := opened.search(spelled, start)) is not None:
        if _depth(spelled[: found.start()]):
            raise ValueError(f"write {found[0]} at the start of the pattern, or as (?{found[1]}:…)")
        spelled = f"{spelled[: found.start()]}(?{found[1]}:{spelled[found.end() :]})"
        start = found.start()
    return spelled


def _depth(text: str) -> int:
    """How many groups are open at the end of `text`."""
    plain = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "", text)
    return plain.count("(") - plain.count(")")


def captures_of(text: str) -> Expanded:
    """A regular expression with named groups, in the form that can be compiled. Raises ValueError."""
    captures: list[Capture] = []

    def numbered(match: re.Match[str]) -> str:
        before = text[: match.start()]
        if (len(before) - len(before.rstrip("\\"))) % 2:
            return match[0]  # an escaped parenthesis
        name, _, kind = match["name"].partition("\0")
        captures.append(Capture(_path(name), _type(kind) if kind else "VARCHAR"))
        return f"(?P<g{len(captures) - 1}>"

    spelled = _NAMED.sub(numbered, text)
    for name, members in _POSIX.items():
        spelled = spelled.replace(f"[:{name}:]", members)
    spelled = re.sub(r"((?:^|[^\\])(?:\\\\)*)\\h", r"\1[0-9A-Fa-f]", spelled)
    return Expanded(spelled.replace(r"\z", r"\Z"), tuple(captures))


def _written_out(pattern: str, library: Mapping[str, str], depth: int, size: list[int]) -> str:
    if depth > _MAX_DEPTH:
        raise ValueError("its patterns name each other in a circle")

    def replaced(match: re.Match[str]) -> str:
        body = library.get(match["name"])
        if body is None:
            raise UnknownPattern(match["name"], frozenset(library))
        inner = _written_out(body, library, depth + 1, size)
        size[0] += len(inner) if depth == 0 else 0
        if size[0] > MAX_CHARACTERS or len(inner) > MAX_CHARACTERS:
            raise ValueError("written out it is too long")
        if match["capture"] is None:
            return f"(?:{inner})"
        if match["type"] is not None:
            _type(match["type"])
        kind = f"\0{match['type']}" if match["type"] else ""
        return f"(?<{match['capture']}{kind}>{inner})"

    return _REFERENCE.sub(replaced, pattern)


def _type(name: str) -> str:
    if name not in TYPES:
        raise ValueError(f"unknown type {name!r} of a capture; known: {', '.join(TYPES)}")
    return TYPES[name]


def _path(name: str) -> Path:
    """`[http][status]`, `http.status` and `status` as paths."""
    bracketed = _BRACKETED.findall(name)
    if bracketed and "".join(f"[{part}]" for part in bracketed) == name:
        return tuple(bracketed)
    parts = tuple(name.split("."))
    if "[" in name or "]" in name or not all(parts):
        raise ValueError(f"{name!r} is no name of a capture; write status or [http][status]")
    return parts
