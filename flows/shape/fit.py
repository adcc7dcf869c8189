"""Whether a batch of events fits a shape: one strict decode by msgspec, in C, its result thrown away.

The decode accepts exactly the values that the typed parse of `sql.py` keeps exactly: no unknown field, no text in a
number, no fraction in an integer, no integer beyond 64 bits (or beyond ±2^53 among fractions).

It goes over the batch a few lines at a time: what a decode makes is then still in the processor's cache when it is thrown
away, which is half of the cost.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Optional
from typing import Any as AnyValue

import msgspec

from flows.shape.nodes import Any, List, Node, Null, Scalar, Shape, Struct

_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_ExactFloat = Annotated[float, msgspec.Meta(gt=-(2.0**53), lt=2.0**53)]
_KINDS = {"BIGINT": _Int64, "DOUBLE": _ExactFloat, "VARCHAR": str, "BOOLEAN": bool}

_PIECE = 16_384  # bytes of a batch decoded in one go
_LOCATED = re.compile(r"at `\$\[(\d+)\](.*)`$", re.DOTALL)


class Misfit(msgspec.Struct, frozen=True):
    """The first event that does not fit: its row, and the path within it as msgspec writes it (`.event.a[...]`)."""

    row: int
    path: str
    unknown_field: bool


class Unreadable(Exception):
    """The batch holds a line that is not an event at all (not JSON, no `source`, …): no gateway let it in."""


def first_misfit(shape: Shape, ndjson: bytes) -> Misfit | None:
    """None when every line fits `shape`. Raises Unreadable when a line is not an event."""
    decode = _decoder(_Hashable(shape)).decode_lines
    lines = memoryview(ndjson)
    start = 0
    while start < len(ndjson):
        stop = ndjson.find(b"\n", start + _PIECE)
        stop = len(ndjson) if stop < 0 else stop
        try:
            decode(lines[start:stop])
        except msgspec.ValidationError as exc:
            return _misfit(str(exc), ndjson.count(b"\n", 0, start), exc)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise Unreadable(str(exc)) from exc
        start = stop + 1
    return None


def _misfit(told: str, rows_before: int, cause: Exception) -> Misfit:
    located = _LOCATED.search(told)
    if located is None:
        raise Unreadable(told) from cause
    path, unknown = located[2], "unknown field" in told
    if not path.startswith((".event.", ".metadata.")) and not unknown:
        raise Unreadable(told) from cause
    return Misfit(rows_before + int(located[1]), path, unknown)


class _Hashable:
    """Caches by identity of content: shapes hold dicts."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._key = msgspec.json.encode(_plain(shape.event)) + msgspec.json.encode(_plain(shape.metadata))
        self._key += b"o" if shape.open else b""

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashable) and other._key == self._key


def _plain(node: Node) -> object:
    if isinstance(node, Struct):
        return [node.open, {name: _plain(child) for name, child in node.fields.items()}]
    if isinstance(node, List):
        return [_plain(node.element)]
    return node.kind if isinstance(node, Scalar) else type(node).__name__


@lru_cache(maxsize=512)
def _decoder(key: _Hashable) -> msgspec.json.Decoder[object]:
    shape = key.shape
    row = msgspec.defstruct(
        "Row",
        [
            ("source", str),
            ("event", _type(shape.event)),
            ("timestamp", Optional[str], None),  # noqa: UP045 - built at run time
            ("metadata", Optional[_type(shape.metadata)], None),  # noqa: UP045
        ],
        forbid_unknown_fields=not shape.open,
        gc=False,
    )
    return msgspec.json.Decoder(row)


def _type(node: Node) -> AnyValue:
    """The strictest Python type whose decoding accepts what fits `node`, null aside."""
    if isinstance(node, Scalar):
        return _KINDS[node.kind]
    if isinstance(node, Any):
        return AnyValue
    if isinstance(node, Null):
        return type(None)
    if isinstance(node, List):
        return list[Optional[_type(node.element)]]  # type: ignore[misc]  # noqa: UP045 - built at run time
    fields = []
    rename = {}
    for number, (name, child) in enumerate(node.fields.items()):
        rename[f"f{number}"] = name
        fields.append((f"f{number}", Optional[_type(child)], None))  # noqa: UP045
    return msgspec.defstruct("Object", fields, rename=rename, forbid_unknown_fields=not node.open, gc=False)
