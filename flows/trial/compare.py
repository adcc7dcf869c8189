"""Whether rows are as a test expects them: as many, in order, and each field that is named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from connectors.timestamps import parse_timestamp
from flows.columns import Path, dotted
from flows.config.paths import field_path

_MICROSECOND = 1_000_000
_CLOSE = 1e-9


class Failure(msgspec.Struct, frozen=True):
    """One difference: in row `row` (from 0) of what went to `destination`, at `path`; or a `message` about all of it."""

    destination: str
    row: int | None = None
    path: str | None = None
    expected: Any = None
    got: Any = None
    message: str | None = None


def compare(
    destination: str, expected: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> list[Failure]:
    """Every difference between the rows of a destination and what was expected of them."""
    failures = []
    if len(expected) != len(rows):
        what = f"expected {_count(len(expected))}, got {_count(len(rows))}"
        got = [plain(row) for row in rows]
        failures.append(Failure(destination, expected=len(expected), got=got, message=what))
    for number, (fields, row) in enumerate(zip(expected, rows, strict=False)):
        for text, value in fields.items():
            at = field_path(text)
            for path, wanted, found in _differences(at, value, _value_at(row, at, value)):
                failures.append(Failure(destination, number, dotted(path), wanted, plain(found)))
    return failures


def plain(value: Any) -> Any:
    """A value of a row as JSON has it: absent for null, instants in RFC 3339, decimals as their text."""
    if isinstance(value, Mapping):
        return {name: plain(child) for name, child in value.items() if child is not None}
    if isinstance(value, list | tuple):
        return [plain(child) for child in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal | bytes) else value


def _value_at(row: Mapping[str, Any], path: Path, expected: Any) -> Any:
    value: Any = row.get(path[0])
    if path[0] == "_rescued" and isinstance(value, str) and (len(path) > 1 or not isinstance(expected, str)):
        value = msgspec.json.decode(value)  # its keys are dotted paths
        return value.get(dotted(path[1:])) if len(path) > 1 else value
    for part in path[1:]:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _differences(path: Path, expected: Any, got: Any) -> list[tuple[Path, Any, Any]]:
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        return [
            found for name, value in expected.items() for found in _differences((*path, name), value, got.get(name))
        ]
    if isinstance(expected, list | tuple) and isinstance(got, list | tuple) and len(expected) == len(got):
        pairs = enumerate(zip(expected, got, strict=True))
        return [found for place, (one, other) in pairs for found in _differences((*path, str(place)), one, other)]
    return [] if _same(expected, got) else [(path, expected, got)]


def _same(expected: Any, got: Any) -> bool:
    if expected is None or got is None:
        return expected is got
    if isinstance(expected, bool) or isinstance(got, bool):
        return expected is got
    if isinstance(got, datetime):
        return isinstance(expected, str) and _instant(expected) == round(got.timestamp() * _MICROSECOND)
    if isinstance(got, date):
        return bool(expected == got.isoformat())
    if isinstance(got, Decimal):
        try:
            return Decimal(str(expected)) == got
        except ArithmeticError:
            return False
    if isinstance(expected, float) or isinstance(got, float):
        numbers = isinstance(expected, int | float) and isinstance(got, int | float)
        return numbers and math.isclose(expected, got, rel_tol=_CLOSE)
    return bool(expected == got)


def _instant(text: str) -> int | None:
    try:
        return parse_timestamp(text)
    except ValueError:
        return None


def _count(rows: int) -> str:
    return f"{rows} row" + ("" if rows == 1 else "s")
