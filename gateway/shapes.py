"""What the events of a stream look like, so that more of the kind are checked without making much of them.

Events whose keys and kinds of values are known decode into objects of just these fields, in half the time of dicts. And
their quotation marks prove that no key came twice: a key has two and a text has two, so what was decoded says how many
there are at least, and a key that came again has two more.

A shape only ever proves events good. What it does not know goes the longer way (`gateway.events`), and widens it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from itertools import islice
from operator import attrgetter, or_
from types import NoneType
from typing import Annotated, Any

import msgspec

_LEAVES = 200
_VARYING = 16  # leaves that are looked at in each event: from some number on the longer way takes no longer
_DEPTH = 20
_SAMPLE = 100  # events of a body that are looked at to widen the shape
_FIRST = 16  # bodies that go the longer way before the first is learned from: a shape is for streams that go on
_PAUSE = 256  # bodies at most that are not tried after one that did not fit

Path = tuple[str, ...]

_SOURCE = Annotated[str, msgspec.Meta(min_length=1)]
_DECODED: dict[type, Any] = {str: str, int: float, float: float, bool: bool, NoneType: None}
_MARKS: dict[type, int] = {str: 4, int: 2, float: 2, bool: 2, NoneType: 2, dict: 2, msgspec.UnsetType: 0}
"""The quotation marks of a key and its value."""

_decode = msgspec.json.Decoder().decode


class Shape:
    """Of one stream's events. Threads may share it."""

    def __init__(self) -> None:
        self._seen: _Seen | None = _Seen()
        self._check: _Check | None = None
        self._misses = 0
        self._pause = self._paused = 0

    def good(self, lines: bytes) -> tuple[int, list[str]] | None:
        """How many events `lines` hold, and their timestamps, which are still to be checked; None proves nothing.

        Not None: each line is an event of the right types, none is nested deeper than some levels, no key is there twice.
        """
        if self._check is None:
            return None
        if self._paused:
            self._paused -= 1
            return None
        found = self._check(lines)
        self._pause = 0 if found else min(2 * self._pause + 1, _PAUSE)
        self._paused = self._pause
        return found

    def widen(self, lines: bytes) -> None:
        """Learns from good events, one a line, that the shape did not prove good: from the sixteenth such body, and from
        ever fewer after it."""
        self._misses += 1
        if self._seen is None or self._misses < _FIRST or self._misses & (self._misses - 1):
            return
        seen = self._seen.copy()
        if all(seen.take(_decode(line)) for line in lines.split(b"\n", _SAMPLE)[:_SAMPLE]):
            self._seen, self._check = seen, seen.check()
        else:
            self._seen = self._check = None  # of no shape that could be known


class _Seen:
    """The kinds of value at each path, `dict` for an object, UnsetType where an event lacked it."""

    def __init__(self, kinds: dict[Path, frozenset[type]] | None = None) -> None:
        self._kinds = kinds or {}

    def copy(self) -> _Seen:
        return _Seen(dict(self._kinds))

    def take(self, event: dict[str, Any]) -> bool:
        """Widened by an event; False where its like cannot be known: arrays, what is an object only at times."""
        found = dict(islice(_kinds_of(event, ()), _LEAVES + 1))
        first = not self._kinds
        for path in found.keys() | self._kinds.keys():
            before = self._kinds.get(path, frozenset() if first else frozenset({msgspec.UnsetType}))
            self._kinds[path] = kinds = before | {found.get(path, msgspec.UnsetType)}
            if not kinds <= _MARKS.keys() or (dict in kinds and len(kinds) > 1):
                return False
        return len(self._kinds) <= _LEAVES

    def check(self) -> _Check | None:
        """The check of events like these; None where it would gain nothing."""
        varying = [path for path, kinds in self._kinds.items() if len({_MARKS[kind] for kind in kinds}) > 1]
        if len(varying) > _VARYING:
            return None
        fixed = sum(max(map(_MARKS.__getitem__, kinds)) for path, kinds in self._kinds.items() if path not in varying)
        names = {path: f"f{number}" for number, path in enumerate(self._kinds)}  # a key need not be a name
        try:
            decode = msgspec.json.Decoder(self._type((), names)).decode
        except ValueError:  # a key that no field can be renamed to
            return None
        timestamp = ("timestamp",)
        getter = _getter(timestamp, names) if timestamp in self._kinds else None
        return _Check(decode, fixed, [_getter(path, names) for path in varying], getter)

    def _type(self, path: Path, names: dict[Path, str]) -> Any:
        fields: list[Any] = []
        rename: dict[str, str] = {}
        for inner, kinds in self._kinds.items():
            if inner[:-1] != path:
                continue
            attribute = names[inner]
            rename[attribute] = inner[-1]
            if dict in kinds:
                fields.append((attribute, self._type(inner, names)))
            elif inner == ("source",):
                fields.append((attribute, _SOURCE))
            else:
                kind = reduce(or_, [_DECODED[kind] for kind in kinds - {msgspec.UnsetType}], msgspec.UnsetType)
                fields.append((attribute, kind, msgspec.UNSET) if msgspec.UnsetType in kinds else (attribute, kind))
        return msgspec.defstruct("Seen", fields, rename=rename, forbid_unknown_fields=True, gc=False, kw_only=True)


def _getter(path: Path, names: dict[Path, str]) -> attrgetter[Any]:
    return attrgetter(".".join(names[path[: depth + 1]] for depth in range(len(path))))


def _kinds_of(value: dict[str, Any], path: Path) -> Iterator[tuple[Path, type]]:
    for name, child in value.items():
        inner = (*path, name)
        yield inner, type(child)
        if isinstance(child, dict):
            if len(inner) > _DEPTH:
                yield inner, list  # too deep: as little to be known as an array
                return
            yield from _kinds_of(child, inner)


class _Check(msgspec.Struct, frozen=True):
    decode: Callable[[bytes], Any]
    fixed: int  # quotation marks that each event has
    varying: list[attrgetter[Any]]  # of the leaves whose quotation marks depend on the event
    timestamp: attrgetter[str | msgspec.UnsetType] | None

    def __call__(self, lines: bytes) -> tuple[int, list[str]] | None:
        if b"\r" in lines:
            return None
        try:
            events = list(map(self.decode, lines.split(b"\n")))
        except (msgspec.DecodeError, ValueError):
            return None
        marks = self.fixed * len(events)
        for get in self.varying:
            marks += sum(map(_MARKS.__getitem__, map(type, map(get, events))))
        if lines.count(b'"') != marks:
            return None
        if self.timestamp is None:
            return len(events), []
        return len(events), [text for text in map(self.timestamp, events) if text is not msgspec.UNSET]
