"""The wire contract of the log: one accepted request is one record.

A record's value is the request's events as NDJSON, one line an event and no newline at the end; facts about the
request travel in headers, so `kcat -C` prints the events and nothing else:

    stream        the stream's id (UUID, lower case)
    request-id    UUID; its version tells how it was made: 8 from an Idempotency-Key, 7 otherwise
    received-at   RFC 3339 with microseconds and `Z`
    count         the number of events, decimal
    content-type  application/x-ndjson
    v             1
    index         only where the record's first event is not the first of its request: which one it is
    replay        only of an event that is sent again (`headrace dlq replay`): `Replay`, as JSON

An event's identity is decided here and never again: `event_id = "<request-id>-<index>"`. An event that is sent again is
a request of its own to the log (an id that the dead letter determines, so that a repeat is known; the time at which it
was appended); the pipeline sees the request and the time that it first came with (`Record.as_sent`).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

CONTENT_TYPE = b"application/x-ndjson"
VERSION = b"1"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Replay(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Whose event a record sends again: that of the request `request_id`, which was received at `received_at` (µs).

    `to` is the only destination that it is for: the others have it. None: all that its routes name. `origin` is the
    partition and the offset of the record that it first came in, where that is known: who reads both has it twice.
    """

    request_id: str
    received_at: int
    to: str | None = None
    origin: tuple[int, int] | None = None


class Record(msgspec.Struct, frozen=True, gc=False):
    """One accepted request (or, with `packing: event`, one of its events).

    `received_at` is in microseconds since the Unix epoch, UTC. `first_index` is the index of the value's first line
    within its request: 0 unless the log packs one event a record.
    """

    stream: str
    request_id: str
    received_at: int
    count: int
    value: bytes
    first_index: int = 0
    replay: Replay | None = None

    @property
    def keyed(self) -> bool:
        """Whether the request carried an Idempotency-Key, or is a replay: only such are remembered for deduplication."""
        return is_keyed(self.request_id)

    @property
    def as_sent(self) -> Record:
        """The record with the request id and the time of receipt that its events have, however often they are sent."""
        if self.replay is None:
            return self
        return msgspec.structs.replace(self, request_id=self.replay.request_id, received_at=self.replay.received_at)

    def headers(self) -> list[tuple[str, bytes]]:
        """The record's headers, as Kafka carries them."""
        headers = [
            ("stream", self.stream.encode()),
            ("request-id", self.request_id.encode()),
            ("received-at", format_instant(self.received_at).encode()),
            ("count", b"%d" % self.count),
            ("content-type", CONTENT_TYPE),
            ("v", VERSION),
        ]
        if self.first_index:
            headers.append(("index", b"%d" % self.first_index))
        if self.replay is not None:
            headers.append(("replay", encode_replay(self.replay).encode()))
        return headers


def record_from_headers(headers: Iterable[tuple[str, bytes]], value: bytes) -> Record:
    """The record that `headers` and `value` carry; ValueError names the header that is missing or malformed."""
    named = dict(headers)
    try:
        if named.get("v", VERSION) != VERSION:
            raise ValueError(f"record version {named['v']!r} is newer than this headrace understands")
        return Record(
            stream=named["stream"].decode(),
            request_id=named["request-id"].decode(),
            received_at=parse_instant(named["received-at"].decode()),
            count=int(named["count"]),
            value=value,
            first_index=int(named.get("index", b"0")),
            replay=decode_replay(named["replay"].decode()) if "replay" in named else None,
        )
    except KeyError as exc:
        raise ValueError(f"a record without its {exc.args[0]!r} header") from None


def keyed_request_id(stream: str, key: str) -> str:
    """The request id that an Idempotency-Key stands for within `stream`: UUID version 8 (RFC 9562) over SHA-256."""
    return _hashed(f"{stream}\0{key}")


def replay_request_id(letter: Iterable[object]) -> str:
    """The request id under which a dead letter's event is sent again: of the same letter (what tells it from all others)
    always the same, and of no request with an Idempotency-Key, whose id is made of a stream's."""
    return _hashed("replay\0" + msgspec.json.encode(list(letter)).decode())


def encode_replay(replay: Replay) -> str:
    """As a record's header, or a column of the log, has it."""
    return msgspec.json.encode(replay).decode()


def decode_replay(text: str) -> Replay:
    """The inverse of `encode_replay`; ValueError where it is none."""
    try:
        return msgspec.json.decode(text, type=Replay)
    except msgspec.DecodeError as exc:
        raise ValueError(f"a 'replay' header that is none: {exc}") from None


def new_request_id() -> str:
    """A fresh request id: UUID version 7 (RFC 9562), so ids sort by time of receipt."""
    moment = f"{time.time_ns() // 1_000_000:012x}"
    return f"{moment[:8]}-{moment[8:]}-{_random_part()}"


_DIGITS, _DRAWN = 20, 256
_drawn: list[str] = []
os.register_at_fork(after_in_child=_drawn.clear)  # two processes must not have the same ones


def _random_part() -> str:
    """What follows a request id's time. Drawn from the system many at once: each call gives up the interpreter's lock."""
    while True:
        try:
            return _drawn.pop()
        except IndexError:
            digits = os.urandom(_DIGITS // 2 * _DRAWN).hex()
            _drawn.extend(_after_time(digits[at : at + _DIGITS]) for at in range(0, len(digits), _DIGITS))


def _after_time(random: str) -> str:
    return f"7{random[:3]}-{'89ab'[int(random[3], 16) & 0x3]}{random[4:7]}-{random[7:19]}"


def is_keyed(request_id: str) -> bool:
    """Whether `request_id` was derived from an Idempotency-Key."""
    return request_id[14:15] == "8"


def now_microseconds() -> int:
    """The clock, in microseconds since the Unix epoch. Only the gateway may ask it: everything later uses `received_at`."""
    return time.time_ns() // 1000


def format_instant(microseconds: int) -> str:
    """RFC 3339 in UTC with six digits, e.g. `2025-02-12T14:32:15.000001Z`."""
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def parse_instant(text: str) -> int:
    """The inverse of `format_instant`, forgiving about offset and digits; ValueError where it is not a date-time."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def _hashed(text: str) -> str:
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
    return str(UUID(int=digest & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62))
