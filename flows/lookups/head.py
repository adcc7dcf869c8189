"""The columns of a lookup's file, without reading all of it: what `headrace check` asks."""

from __future__ import annotations

from itertools import islice

import maxminddb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from flows.lookups.csv import read_header
from flows.lookups.settings import Lookup
from flows.lookups.watched import LARGEST

_HEAD = 1_048_576  # bytes that a header, or the first objects, are looked for in
_OBJECTS = 1_000


class HeadProblem(Exception):
    """What is wrong with a file as far as its head tells, and the remedy."""

    def __init__(self, message: str, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.suggestion = suggestion


def read_head(lookup: Lookup) -> list[str] | None:
    """The names of the file's columns; None where only reading it tells. Raises HeadProblem."""
    try:
        if not lookup.file.is_file():
            what = "is a directory" if lookup.file.is_dir() else "there is no such file"
            raise HeadProblem(f"{str(lookup.file)!r}: {what}", "a path is relative to this configuration's directory")
        size = lookup.file.stat().st_size
        if size > LARGEST:
            raise HeadProblem(f"it has {size:,} bytes; at most {LARGEST:,} are read")
        if lookup.format == "parquet":
            return list(pq.read_schema(lookup.file).names)
        if lookup.format == "mmdb":
            maxminddb.open_database(lookup.file, maxminddb.MODE_FILE).close()
            return None
        with lookup.file.open("rb") as opened:
            head = opened.read(_HEAD)
    except OSError as exc:
        raise HeadProblem(f"{str(lookup.file)!r} cannot be read: {exc.strerror or 'it is broken'}") from exc
    except (pa.ArrowException, maxminddb.InvalidDatabaseError, UnicodeDecodeError) as exc:
        raise HeadProblem(f"it is no {lookup.format} file, or not a whole one") from exc
    if lookup.format == "csv":
        return _header(head, lookup.key)
    return _members(head, lines=lookup.format == "ndjson", whole=len(head) < _HEAD)


def _header(head: bytes, key: str | None) -> list[str]:
    try:
        text = (head[: head.rfind(b"\n")] if len(head) == _HEAD else head).decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = head[: exc.start].count(b"\n") + 1
        raise HeadProblem(f"line {line} has a byte that is not UTF-8", "save it as UTF-8") from None
    names = [name for name in read_header(text, key)[0] if name]
    if not names:
        raise HeadProblem("it has no header", "name the columns in its first line")
    return names


def _members(head: bytes, *, lines: bool, whole: bool) -> list[str] | None:
    """The members of the first objects; of an array only where all of it is in the head."""
    head = head.removeprefix(b"\xef\xbb\xbf")
    if not lines and not whole:
        return None
    try:
        if lines:
            rows = [line for line in (head if whole else head[: head.rfind(b"\n")]).split(b"\n") if line.strip()]
            objects = [msgspec.json.decode(row, type=dict[str, msgspec.Raw]) for row in rows[:_OBJECTS]]
        else:
            objects = list(islice(msgspec.json.decode(head, type=list[dict[str, msgspec.Raw]]), _OBJECTS))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        wanted = "one object a line" if lines else "an array of objects"
        raise HeadProblem(f"it is not {wanted}: {str(exc)[:120]}") from None
    return list(dict.fromkeys(name for members in objects for name in members)) or None
