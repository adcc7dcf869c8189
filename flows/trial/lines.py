"""Example events as the source would hand them on: from a file, from a test, or as the log had them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path as File
from typing import Any

import msgspec

from connectors.batch import StreamLines, batch_of
from connectors.errors import HeadraceError
from connectors.log import Block
from connectors.record import Record
from flows.columns import Path

_REQUEST = "00000000-0000-7000-8000-000000000000"  # what an example's event_id begins with
_ARRAY = b"["


class Example(msgspec.Struct, frozen=True):
    """The JSON text of an event on one line, and the line of the file that it stands in (from 1)."""

    text: str
    line: int


class _Event(msgspec.Struct):
    """What every event has; the rest is the pipeline's to read."""

    source: str
    event: dict[str, Any]
    timestamp: str | None = None
    metadata: dict[str, Any] | None = None


def read_examples(file: File) -> list[Example]:
    """The events of a file: NDJSON, or one JSON array of events.

    Raises HeadraceError, with the line, where one is no JSON, and where there is none.
    """
    try:
        content = file.read_bytes()
    except OSError as exc:
        raise HeadraceError(f"cannot read {file}: {exc.strerror}") from exc
    found = list(_examples(content, file))
    if not found:
        raise HeadraceError(f"{file} holds no event", remedy="write one JSON object a line")
    return found


def _examples(content: bytes, file: File) -> Iterator[Example]:
    if content.lstrip().startswith(_ARRAY):
        try:
            events = msgspec.json.decode(content, type=list[msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise HeadraceError(f"{file} is no JSON array of events: {exc}") from None
        for event in events:
            yield Example(msgspec.json.format(bytes(event), indent=-1).decode(), 1)
        return
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            msgspec.json.decode(line)
            yield Example(line.strip().decode(), number)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise HeadraceError(f"{file}:{number}: not JSON: {exc}", remedy="write one JSON object a line") from None


def no_event(text: str) -> str | None:
    """Why the gateway would not take this JSON text as an event; None where it would."""
    try:
        event = msgspec.json.decode(text, type=_Event)
    except (msgspec.DecodeError, RecursionError) as exc:
        return str(exc)
    return None if event.source else "`source` is empty"


def example_lines(stream_id: str, texts: Sequence[str], received_at: int) -> StreamLines:
    """One batch of a single request that holds these events, received at `received_at` (UTC microseconds)."""
    record = Record(stream_id, _REQUEST, received_at, len(texts), "\n".join(texts).encode())
    return batch_of(Block(0, [0], [record], 1)).streams[0]


def sample_paths(examples: Iterable[Example]) -> frozenset[Path]:
    """The paths that the events have, down to what is no object."""
    found: set[Path] = set()
    for example in examples:
        event = msgspec.json.decode(example.text)
        if isinstance(event, dict):
            for root in ("event", "metadata"):
                _collect(event.get(root), (root,), found)
    return frozenset(found)


def _collect(value: Any, path: Path, found: set[Path]) -> None:
    if isinstance(value, dict):
        for name, child in value.items():
            _collect(child, (*path, name), found)
    elif value is not None:
        found.add(path)
