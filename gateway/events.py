"""From a body to the lines that go to the log: every check on events is here.

The way of a good body is short, and no event is looked at alone: decode it typed, convert all timestamps at once, and
prove by counting that nothing is nested too deep and no key came twice; shortest where the stream's shape is known
(`gateway.shapes`). What fails one of these is walked event by event, to name every bad event or to write a duplicate key
once; that walk is what decides, the short way only what needs none. An event goes to the log as it came (number texts
and escapes kept), on one line.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

import msgspec

from connectors.timestamps import parse_timestamp
from gateway.answers import BadEvent, Refusal
from gateway.rewriting import written_once
from gateway.shapes import Shape

TIMESTAMP_SENTENCE = "The 'timestamp' field must be a valid ISO 8601 string."
MAX_LEVELS = 100
"""Objects and arrays within each other, the event itself counted: the pipeline's parser stops at 128."""

_BOM = b"\xef\xbb\xbf"
_WHITESPACE = b" \t\r\n"


class Event(msgspec.Struct, gc=False):
    """An event as it must be sent; any other top-level field is allowed and kept. `timestamp` is ISO 8601."""

    source: Annotated[str, msgspec.Meta(min_length=1)]
    event: dict[str, Any]
    timestamp: str | msgspec.UnsetType = msgspec.UNSET
    metadata: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class Events(msgspec.Struct, frozen=True):
    """The events of one request: `lines` is NDJSON without a last newline; `batch`: sent as an array or NDJSON."""

    lines: bytes
    count: int
    batch: bool


_decode = msgspec.json.Decoder().decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_lines = msgspec.json.Decoder(Event).decode_lines
_encode = msgspec.json.Encoder().encode
_MANY = 10
_NO_MARKS = bytes(set(range(256)) - set(b"{}[],\n"))


def read_events(body: bytes, *, ndjson: bool, shape: Shape | None = None) -> Events:
    """The events of a body; Refusal where there is anything wrong with any of them.

    `shape` is what is known of the stream's events: it makes no difference but of time.
    """
    body = body.removeprefix(_BOM)
    try:
        return _read_lines(body, shape) if ndjson else _read_json(body, shape)
    except RecursionError as exc:  # readable, but too deep for what looks at it next
        raise Refusal("invalid_json", unreadable(body, exc)) from None


def _read_json(body: bytes, shape: Shape | None) -> Events:
    body = body.strip(_WHITESPACE)
    if not body:
        raise Refusal("invalid_json", "The body is empty; send one event as a JSON object, or an array of events.")
    if body.startswith(b"{") and _need_no_look(body, shape) == 1:
        return Events(body, 1, batch=False)
    if (lines := _lines_of(body)) and (count := _need_no_look(lines, shape)):
        return Events(lines, count, batch=True)
    try:
        value = _decode(body)
    except _UNREADABLE as exc:
        raise Refusal("invalid_json", unreadable(body, exc)) from None
    if not isinstance(value, list):
        bad = fault(value) or too_deep(body, value)
        if bad is not None:
            raise Refusal(bad[1], bad[2])
        return Events(_once(_one_line(body), value), 1, batch=False)
    if not value:
        raise Refusal("invalid_type", "The batch is empty; send at least one event.")
    _refuse_bad([fault(item) for item in value] if not _all_good(value) else [])
    texts = [_one_line(bytes(item)) for item in _decode_items(body)]
    _refuse_bad([too_deep(text, item) for text, item in zip(texts, value, strict=True)])
    return Events(_all_once(texts, value), len(value), batch=True)


def _lines_of(body: bytes) -> bytes:
    """The items of an array, as they came, a line each if they hold no line end; nothing where it is none."""
    try:
        return b"\n".join(_decode_items(body)) if body.startswith(b"[") else b""
    except _UNREADABLE:
        return b""


def _read_lines(body: bytes, shape: Shape | None) -> Events:
    if count := _need_no_look(text := body.strip(_WHITESPACE), shape):
        return Events(text, count, batch=True)
    lines = body.split(b"\n")
    texts = [line for line in (line.strip(_WHITESPACE) for line in lines) if line]
    if not texts:
        if not body:
            raise Refusal("invalid_json", "The body is empty; send one event a line.")
        raise Refusal("invalid_type", "The batch is empty; send at least one event.")
    if b"\r" in body:
        texts = [_one_line(text) for text in texts]
    try:
        values = [_decode(text) for text in texts]
    except _UNREADABLE:
        _refuse_bad([_line_fault(line, number) for number, line in enumerate(lines, 1) if line.strip(_WHITESPACE)])
        raise
    _refuse_bad([fault(value) for value in values] if not _all_good(values) else [])
    _refuse_bad([too_deep(text, value) for text, value in zip(texts, values, strict=True)])
    return Events(_all_once(texts, values), len(values), batch=True)


Fault = tuple[str, str, str]
"""Where in the event (`$` is the event itself), the error code, a sentence."""


def fault(event: object) -> Fault | None:
    """The first thing that is wrong with an event; None for a good one."""
    if not isinstance(event, dict):
        return "$", "invalid_type", f"An event must be a JSON object, not {_kind(event)}."
    for name in ("source", "event"):
        if name not in event:
            return f"$.{name}", "missing_field", f"The '{name}' field is required."
    source, timestamp = event["source"], event.get("timestamp", "")
    if not isinstance(source, str) or not source:
        what = "an empty string" if source == "" else _kind(source)
        return "$.source", "invalid_type", f"The 'source' field must be a non-empty string, not {what}."
    for name in ("event", "metadata"):
        if not isinstance(event.get(name, {}), dict):
            return f"$.{name}", "invalid_type", f"The '{name}' field must be an object, not {_kind(event[name])}."
    if not isinstance(timestamp, str):
        return "$.timestamp", "invalid_type", f"The 'timestamp' field must be a string, not {_kind(timestamp)}."
    if "timestamp" in event:
        try:
            parse_timestamp(timestamp)
        except ValueError:
            return "$.timestamp", "invalid_format", TIMESTAMP_SENTENCE
    return None


def too_deep(text: bytes, event: object) -> Fault | None:
    """A fault where the event is nested deeper than the pipeline reads; no text has more levels than brackets."""
    if text.count(b"{") + text.count(b"[") <= MAX_LEVELS:
        return None
    level = [event]
    for _ in range(MAX_LEVELS):
        level = [
            child
            for value in level
            for child in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
            if isinstance(child, dict | list)
        ]
        if not level:
            return None
    return "$", "invalid_json", f"The event is nested too deep: {MAX_LEVELS} levels are the limit."


def _need_no_look(text: bytes, shape: Shape | None) -> int:
    """How many events stand in `text`, if they are good, one a line, and need no change; 0 if that is to be looked at."""
    known = shape.good(text) if shape is not None else None
    if known is not None:
        return known[0] if _timed(known[1]) else 0
    count = _good(text)
    if count and shape is not None:
        shape.widen(text)
    return count


def _good(text: bytes) -> int:
    """As `_need_no_look`, whatever the events look like."""
    try:
        events = _decode_lines(text)
    except _UNREADABLE:
        return 0
    if not (_timed(_timestamps(events)) and _lined(text, len(events))):
        return 0
    return len(events) if _no_room_for_duplicates(text, events) or _no_duplicates(text, events) else 0


def _all_good(values: list[Any]) -> bool:
    """Whether a typed conversion finds every event good; a False may still be a good event of a rarer form."""
    try:
        return _timed(_timestamps(msgspec.convert(values, list[Event])))
    except (msgspec.ValidationError, RecursionError):
        return False


def _timestamps(events: list[Event]) -> list[str]:
    return [event.timestamp for event in events if event.timestamp is not msgspec.UNSET]


def _timed(texts: list[str]) -> bool:
    """Whether all timestamps are of the form that is read at once, and of no year that an offset carries too far."""
    try:
        msgspec.convert(texts, list[datetime])
    except msgspec.ValidationError:
        return False
    return not texts or (min(texts) >= "0002" and max(texts) < "9999")  # each begins with its year, of four digits


def _lined(text: bytes, count: int) -> bool:
    """Whether `count` objects stand one a line, none with more marks than make MAX_LEVELS; those in strings count too.

    A line end stands in no string. Between two objects of one value there is a comma: where an object ends, a line ends and
    an object begins, two values meet.
    """
    if b"\r" in text:
        return False
    marks = text.translate(None, _NO_MARKS)
    if marks.count(b"\n") != count - 1 or marks.count(b"}\n{") != count - 1:
        return False
    return max(map(len, marks.split(b"\n"))) <= 2 * MAX_LEVELS


def _refuse_bad(faults: list[Fault | None]) -> None:
    bad = [BadEvent(index, *found) for index, found in enumerate(faults) if found is not None]
    if bad:
        detail = bad[0].detail if len(bad) == 1 else f"{bad[0].detail} {len(bad)} events are bad: see 'errors'."
        raise Refusal(bad[0].error, detail, bad=bad)


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
_BYTE = re.compile(r" \(byte (\d+)\)$")


def unreadable(text: bytes, exc: Exception, *, line: int = 1) -> str:
    """Why `text` is not JSON, as a sentence with line and column (characters, from 1); `line` is its first line's."""
    position = len(text)
    if isinstance(exc, RecursionError):
        reason, position = "it is nested too deep", _deepest(text)
    elif isinstance(exc, UnicodeDecodeError):
        reason, position = "it is not valid UTF-8", _first_invalid(text)
    else:
        reason = str(exc).removeprefix("JSON is malformed: ")
        found = _BYTE.search(reason)
        if found:
            position, reason = int(found[1]), reason[: found.start()]
        elif "out of range" in reason or "integer string conversion" in reason:
            number = _VAST.search(text)
            reason, position = "a number is out of range", number.start() if number else 0
        elif "truncated" in reason:
            lone = _LONE_SURROGATE.search(text)
            reason = "a surrogate stands alone" if lone else "it ends too early"
            position = lone.start() if lone else position
    before = text[:position]
    row = line + before.count(b"\n")
    column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
    return f"The body is not valid JSON: {reason} (line {row}, column {column})."


_LONE_SURROGATE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_VAST = re.compile(rb"-?[0-9]{300,}|-?[0-9][0-9.]*[eE]\+?[0-9]{2,}")


def _deepest(text: bytes) -> int:
    run = re.search(rb"(?:[\[{][^\]}]*?){500}", text[:100_000])
    return run.end() if run else 0


def _first_invalid(text: bytes) -> int:
    try:
        text.decode()
    except UnicodeDecodeError as exc:
        return exc.start
    return 0


def _line_fault(line: bytes, number: int) -> Fault | None:
    try:
        return fault(_decode(line))
    except _UNREADABLE as exc:
        return "$", "invalid_json", unreadable(line, exc, line=number)


def _one_line(text: bytes) -> bytes:
    """JSON on one line. Exact: inside a JSON string no raw line end can stand."""
    if b"\n" in text or b"\r" in text:
        text = text.replace(b"\n", b" ").replace(b"\r", b" ")
    return text.strip(_WHITESPACE)


def _all_once(texts: list[bytes], values: list[Any]) -> bytes:
    lines = b"\n".join(texts)
    if _no_duplicates(lines, values):
        return lines
    return b"\n".join(_once(text, value) for text, value in zip(texts, values, strict=True))


def _once(text: bytes, value: object) -> bytes:
    return text if _no_duplicates(text, value) else written_once(text)


def _no_duplicates(text: bytes, value: object) -> bool:
    """Whether no object in `text` has a key twice; a False may still be a text without.

    What was decoded has each key once. A key and a colon in a string have one colon in the text and one in an encoding
    of what it was decoded to, so a text with a duplicate has more of them: unless it writes a colon as an escape.
    """
    if b"\\" in text and b"\\u003" in text:
        return False
    return text.count(b":") == _encode(value).count(b":")


def _no_room_for_duplicates(text: bytes, events: list[Event]) -> bool:
    """Whether the lines of `text` have no more keys than `events` with each key once; a False says nothing.

    The colon after a key follows its quotation mark, a space or a tab, so there are at most as many keys as such colons.
    Of `events` only keys that are not nested are counted: that takes a third of what `_no_duplicates` takes.
    """
    if len(events) < _MANY or b"\\" in text or any(isinstance(value, dict) for value in events[0].event.values()):
        return False  # few are encoded as quickly; JSON within strings, and what is nested, would be counted in vain
    metadata = [event.metadata for event in events if event.metadata is not msgspec.UNSET]
    keys = 2 * len(events) + sum([len(event.event) for event in events])  # 2: `source` and `event`
    keys += len(metadata) + sum(map(len, metadata)) + sum([event.timestamp is not msgspec.UNSET for event in events])
    return keys == text.count(b'":') + sum([text.count(blank + b":") for blank in (b" ", b"\t") if blank in text])


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"
