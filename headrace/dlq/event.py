"""From a dead letter to the record that sends its event again.

The event is read from the log where the log still has it: as it was sent, so that every step is applied to it once. Else
it is what the letter keeps of it, as it was when it could not go on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from connectors.record import Record, Replay, now_microseconds, replay_request_id

if TYPE_CHECKING:
    from flows.config import Config

_encode = msgspec.json.Encoder(decimal_format="number").encode


class CannotReplay(Exception):
    """Why a letter's event cannot be sent again; the letter stays."""


def key_of(letter: Mapping[str, Any]) -> list[Any]:
    """What tells a letter from all others (`connectors.sinks.letter_table.KEY`)."""
    from connectors.sinks.letter_table import KEY

    return [letter[name] for name in KEY.names]


def record_of(letter: Mapping[str, Any], kept: Record | None, config: Config) -> Record:
    """The record that sends the letter's event again; `kept` is the one that the log has at the letter's place.

    Raises CannotReplay.
    """
    event_id, destination = letter["event_id"], letter["destination"]
    if letter["stage"] == "rollup":
        raise CannotReplay(
            "it was late for a rollup only: the event went its way, and a closed window gives its row once"
        )
    if destination is not None and destination not in config.destinations:
        raise CannotReplay(f"the configuration has no destination '{destination}' any more")
    stream = _stream_id(letter["stream"], config)
    request_id, _, number = (event_id or "").rpartition("-")
    if not number.isdigit():
        raise CannotReplay("it has no event_id to be sent again under")
    index = int(number)
    line = None if kept is None else _line(kept, stream, request_id, index)
    origin = None
    if line is not None and kept is not None:
        received_at = kept.as_sent.received_at
        origin = (letter["partition"], letter["offset"]) if kept.replay is None else kept.replay.origin
        _refuse_no_event(line)
    else:
        line, received_at = _from_payload(letter["payload"]), _received_at(letter["received_at"], request_id)
    replay = Replay(request_id, received_at, destination, origin)
    return Record(stream, replay_request_id(key_of(letter)), now_microseconds(), 1, line, index, replay)


def _stream_id(name: str, config: Config) -> str:
    from flows.rollups import table_of

    if name in config.streams:
        return config.streams[name].id
    if name in {stream.id for stream in config.streams.values()}:
        return name
    if name in {table_of(stream, one) for stream, known in config.streams.items() for one in known.rollups}:
        raise CannotReplay("it is a row of a rollup and no event: the log has nothing to send again")
    raise CannotReplay(f"the configuration has no stream '{name}' any more")


def _line(kept: Record, stream: str, request_id: str, index: int) -> bytes | None:
    """The event's text, if it is this event that the record holds: a log can have been made anew."""
    sent = kept.as_sent
    lines = kept.value.split(b"\n")
    place = index - kept.first_index
    if sent.stream != stream or sent.request_id != request_id or not 0 <= place < len(lines):
        return None
    return lines[place]


def _refuse_no_event(line: bytes) -> None:
    from gateway.events import fault

    try:
        wrong = fault(msgspec.json.decode(line))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CannotReplay("it is no event: its text is not JSON") from None
    if wrong is not None:
        raise CannotReplay(f"it is no event: {wrong[2]}")


def _from_payload(payload: str | None) -> bytes:
    if payload is None:
        raise CannotReplay("it was not kept, as it could not be masked, and the log does not have it any more")
    try:
        event = json.loads(payload, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise CannotReplay("it is no event: its text is not JSON") from None
    if isinstance(event, dict):
        event = {name: value for name, value in event.items() if value is not None}
        _put_back(event)
        event.setdefault("event", {})
        _spell_time(event)
    line = _encode(event)
    _refuse_no_event(line)
    return line


def _put_back(event: dict[str, Any]) -> None:
    """What no column could carry goes back to where it stood."""
    from flows.config.paths import field_path

    rescued = event.pop("_rescued", None)
    for path, value in rescued.items() if isinstance(rescued, dict) else ():
        try:
            *above, name = field_path(path)
        except ValueError:
            above, name = [], path
        node = event
        for part in above:
            below = node.get(part)
            if not isinstance(below, dict):
                below = node[part] = {}
            node = below
        node[name] = value


def _spell_time(event: dict[str, Any]) -> None:
    text = event.get("timestamp")
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        moment = None
    if moment is None:
        event.pop("timestamp", None)
    else:
        event["timestamp"] = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def _received_at(kept: datetime | None, request_id: str) -> int:
    """When the event was received, in microseconds: letters of older versions do not say, but most ids do (RFC 9562)."""
    if kept is not None:
        return round((kept - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)
    try:
        request = UUID(request_id)
    except ValueError:
        return now_microseconds()
    return (request.int >> 80) * 1000 if request.version == 7 else now_microseconds()
