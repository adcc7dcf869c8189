"""What a scalar's text means: numbers, sizes, durations, identifiers, as a person writes them.

Each function raises ValueError with a sentence that fits after "streams.payments.limits.bytes_per_second: ".
"""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import UUID

NULLS = ("", "~", "null", "Null", "NULL")
BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

SIZE_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
SIZE_UNITS |= {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
DURATION_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
DURATION_UNITS["w"] = 7 * DURATION_UNITS["d"]

INTEGER = r"[-+]?[0-9][0-9_]*"
SIZE = r"[0-9]+(?:\.[0-9]+)? ?(?:[kKMGT]i?)?[bB]?"
DURATION = r"(?:[0-9]+(?:\.[0-9]+)? ?(?:us|ms|s|m|h|d|w) ?)+"

_INTEGER = re.compile(rf"{INTEGER}|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SIZE = re.compile(r"([0-9]+)(?:\.([0-9]+))? ?((?:[kKMGT]i?)?[bB]?)")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(us|ms|s|m|h|d|w) ?")
_MAX_DIGITS = 30


def integer(text: str) -> int:
    """A whole number: decimal, `0x` or `0o`; `_` may group its digits."""
    if not _INTEGER.fullmatch(text) or len(text) > _MAX_DIGITS:
        raise ValueError("expected a whole number")
    return int(text, 0) if text[:2] in ("0x", "0o") else int(text)


def number(text: str) -> float:
    """A finite number."""
    if len(text) > _MAX_DIGITS or not (_FLOAT.fullmatch(text) or _INTEGER.fullmatch(text)):
        raise ValueError("expected a number")
    value = float(text) if _FLOAT.fullmatch(text) else float(integer(text))
    if value in (float("inf"), float("-inf")):
        raise ValueError("expected a finite number")
    return value


def boolean(text: str) -> bool:
    """`true` or `false`."""
    if text not in BOOLEANS:
        raise ValueError("expected true or false")
    return BOOLEANS[text]


def size(text: str) -> int:
    """A number of bytes: `1048576`, `50MB` (10^6), `1GiB` (2^30). `K`, `M`, `G` alone are decimal too."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or len(text) > _MAX_DIGITS:
        raise ValueError("expected a size such as 50MB or 1GiB")
    whole, fraction, unit = match.groups()
    factor = SIZE_UNITS[unit.rstrip("bB").upper()]
    return int(whole) * factor + (int(fraction) * factor // 10 ** len(fraction) if fraction else 0)


def duration(text: str) -> timedelta:
    """A length of time: `500ms`, `10s`, `5m`, `1h`, `7d`, `1h30m`; `0` needs no unit."""
    text = text.strip()
    if text == "0":
        return timedelta(0)
    if _FLOAT.fullmatch(text) and len(text) <= _MAX_DIGITS:
        raise ValueError(f"a duration without its unit; write {text}s, {text}m or {text}h")
    at, total = 0, 0.0
    while at < len(text) <= _MAX_DIGITS and (part := _DURATION_PART.match(text, at)):
        total += float(part[1]) * DURATION_UNITS[part[2]]
        at = part.end()
    if not text or at < len(text):
        raise ValueError("expected a duration such as 500ms, 10s, 5m, 1h or 7d")
    try:
        return timedelta(microseconds=round(total))
    except OverflowError:
        raise ValueError("a duration of more than 999,999,999 days") from None


def uuid(text: str) -> str:
    """A UUID, in lower case with its hyphens."""
    try:
        if len(text) == 36 and text.count("-") == 4:
            return str(UUID(text))
    except ValueError:
        pass
    raise ValueError("expected a UUID such as a0c3b4de-1923-4ff1-8dba-f92ad912d20f")


def described(value: timedelta) -> str:
    """A duration as a person writes it: `1h`, `500ms`."""
    total = value // timedelta(microseconds=1)
    for unit in ("d", "h", "m", "s", "ms"):
        if total and total % DURATION_UNITS[unit] == 0:
            return f"{total // DURATION_UNITS[unit]}{unit}"
    return f"{total}us" if total else "0s"
