"""Which partition a record goes to, and what one request becomes in the log: the same for every log."""

from __future__ import annotations

import random
import threading
import time
import zlib
from collections.abc import Callable

import msgspec

from connectors.record import Record


def keyed_partition(request_id: str, partitions: int) -> int:
    """The partition of a request with an Idempotency-Key: CRC-32 of its id, so that a repeat follows its original."""
    return zlib.crc32(request_id.encode()) % partitions


class Turns:
    """Where records without a key go: the same way for a while, then the next, so that all get as much in the long run.

    What comes together is then one batch of the producer's, and not one for each partition: a batch costs several times
    what a record in it does (KIP-480, the sticky partitioner, does it for the same reason). Threads may share it.
    """

    def __init__(self, seconds: float, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        """A turn lasts for `seconds` from its first record on, or for `size` bytes."""
        self._clock = clock
        self._seconds = seconds
        self._size = size
        self._lock = threading.Lock()
        self._turn = random.randrange(1000)  # noqa: S311 -- where a process starts to spread
        self._begun = float("-inf")
        self._left = 0

    def take(self, size: int) -> int:
        """The turn, modulo the number of partitions, of a record of `size` bytes."""
        now = self._clock()
        with self._lock:
            if now - self._begun >= self._seconds or self._left < size:
                self._turn += 1
                self._begun, self._left = now, self._size
            self._left -= size
            return self._turn


def packed(record: Record, packing: str) -> list[Record]:
    """The records that `record` is written as: itself, or with `packing: event` one an event line."""
    if packing == "request" or record.count == 1:
        return [record]
    return [
        msgspec.structs.replace(record, value=line, count=1, first_index=record.first_index + index)
        for index, line in enumerate(record.value.split(b"\n"))
    ]
