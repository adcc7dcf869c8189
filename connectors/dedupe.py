"""The memory of Idempotency-Keys: a repeated request is left out, whichever attempt it was.

Deterministic given the log: a record is a repeat when one of the same id at a lower offset, itself a repeat or not, was
received within the window before it (by `received-at`, never the clock). That depends on one window of the log alone:
reading on from an older offset after a crash decides the same, once what the restart forgot is read again
(`Log.keyed_requests`). Counted from the original instead, a chain of repeats would be decided by where reading began.
All attempts of a request lie in one partition, so a partition remembers alone. Requests without a key are never
remembered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from connectors.record import Record

MAX_REMEMBERED = 2_000_000
"""Requests a partition remembers at most (~0.4 GB); past it the oldest are forgotten before their window ends."""


CLOCK_SKEW = 300_000_000
"""Microseconds by which a record may have been received before one at a lower offset: gateways' clocks differ."""


class Dedupe:
    """What one partition remembers. `windows` gives microseconds by stream id."""

    def __init__(self, windows: Mapping[str, int]) -> None:
        self._windows = windows
        self._longest = max(windows.values(), default=0) + CLOCK_SKEW
        self._seen: dict[tuple[str, str, int], tuple[int, int]] = {}  # (last received at, offset of the original)
        self._order: deque[tuple[tuple[str, str, int], int]] = deque()

    @property
    def longest(self) -> int:
        """How long ago a request can have been received that still counts, in microseconds: the longest window, and skew."""
        return self._longest

    def remember(self, requests: Iterable[tuple[str, str, int, int, int]]) -> None:
        """Takes up (stream, request id, first index, received at, offset) of earlier records, oldest first."""
        for stream, request_id, first_index, received_at, offset in requests:
            self._is_repeat((stream, request_id, first_index), received_at, offset)

    def is_repeat(self, record: Record, offset: int) -> bool:
        """Whether the record repeats one at a lower offset. Records are shown in offset order."""
        if not record.keyed:
            return False
        return self._is_repeat((record.stream, record.request_id, record.first_index), record.received_at, offset)

    def _is_repeat(self, key: tuple[str, str, int], received_at: int, offset: int) -> bool:
        last_received, first_offset = self._seen.get(key, (None, offset))
        if last_received is None or received_at - last_received > self._windows.get(key[0], 0):
            first_offset = offset
        repeat = offset > first_offset
        if last_received is None or received_at > last_received or not repeat:
            latest = received_at if last_received is None else max(received_at, last_received)
            self._seen[key] = (latest, first_offset)
            self._order.append((key, latest))
            self._forget(received_at)
        return repeat

    def _forget(self, now: int) -> None:
        while self._order and (now - self._order[0][1] > self._longest or len(self._order) > MAX_REMEMBERED):
            key, received_at = self._order.popleft()
            if self._seen.get(key, (None, 0))[0] == received_at:
                del self._seen[key]
