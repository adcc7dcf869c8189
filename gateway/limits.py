"""Quotas per token and stream, held across all gateway processes of a host by one small file they map into memory.

Requests are counted over a sliding second (this second's count and what is left of the last one's), so a second's worth
may come at once and the long run is exact. Bytes are paid for afterwards: a request passes unless what came before it
left more than a quarter of a second of debt, so a request larger than a second's quota passes too, and then the next
one waits. A slot is locked for each look at it; the kernel frees the lock of a process that dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import mmap
import os
import struct
import threading
import time
from pathlib import Path

import msgspec

from gateway.answers import Headers, Refusal
from gateway.settings import Limits

_SLOT = struct.Struct("<16s d d d d d")  # key, window, this window's count, the last one's, bytes paid up to, last used
_SLOTS = 8  # in a bucket; a bucket is what is locked
_BUCKETS = 1024
_BUCKET_BYTES = _SLOT.size * _SLOTS
_DEBT_SECONDS = 0.25
_SANE_DEBT_SECONDS = 86_400.0


class Quota(msgspec.Struct, frozen=True):
    """What is left after a request was let through: for the RateLimit headers."""

    limit: float
    remaining: float
    reset: float

    def headers(self) -> Headers:
        return [
            ("RateLimit-Limit", str(max(1, math.floor(self.limit)))),
            ("RateLimit-Remaining", str(max(0, math.floor(self.remaining)))),
            ("RateLimit-Reset", str(max(0, math.ceil(self.reset)))),
        ]


class Quotas:
    """The quotas of a host, in the file at `path`. Threads may share it; made after a fork."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size != _BUCKET_BYTES * _BUCKETS:
            os.ftruncate(self._file, _BUCKET_BYTES * _BUCKETS)
        self._map = mmap.mmap(self._file, _BUCKET_BYTES * _BUCKETS)
        self._threads = threading.Lock()  # a file lock is the process's: it does not keep threads apart

    def take_request(self, token: str, stream: str, limits: Limits, *, now: float | None = None) -> Quota | None:
        """Counts one request; Refusal `rate_limited` past the quota, None where there is none. `now`: seconds."""
        rate = limits.requests_per_second
        if rate is None:
            return None
        moment = time.time() if now is None else now
        length = max(1.0, 1.0 / rate)
        allowed = rate * length
        with _Slot(self, token, stream, moment) as slot:
            window = math.floor(moment / length)
            passed = moment / length - window
            if window != slot.window:
                slot.last = slot.count if window == slot.window + 1 else 0.0
                slot.window, slot.count = window, 0.0
            used = slot.count + slot.last * (1 - passed)
            if used + 1 > allowed + 1e-9:
                free = used + 1 - allowed
                wait = length * (free / slot.last) if slot.last > free else length * (1 - passed)
                raise _rate_limited("requests", rate, wait)
            slot.count += 1
            return Quota(rate, allowed - used - 1, length * (1 - passed))

    def take_bytes(self, token: str, stream: str, limits: Limits, size: int, *, now: float | None = None) -> None:
        """Counts `size` bytes; Refusal `rate_limited` past the quota."""
        rate = limits.bytes_per_second
        if rate is None:
            return
        moment = time.time() if now is None else now
        with _Slot(self, token, stream, moment) as slot:
            debt = slot.paid - moment
            if debt > _SANE_DEBT_SECONDS:  # the clock was set back
                debt = 0.0
            if debt > _DEBT_SECONDS:
                raise _rate_limited("bytes", rate, debt - _DEBT_SECONDS)
            slot.paid = moment + max(debt, 0.0) + size / rate

    def close(self) -> None:
        self._map.close()
        os.close(self._file)


class _Slot:
    """One token and stream's counts, locked and read on entry, written back on exit."""

    window: float
    count: float
    last: float
    paid: float

    def __init__(self, quotas: Quotas, token: str, stream: str, moment: float) -> None:
        self._quotas = quotas
        self._key = hashlib.blake2b(f"{token}/{stream}".encode(), digest_size=16).digest()
        self._start = int.from_bytes(self._key[:4], "big") % _BUCKETS * _BUCKET_BYTES
        self._at = self._start
        self._moment = moment

    def __enter__(self) -> _Slot:
        self._quotas._threads.acquire()
        fcntl.lockf(self._quotas._file, fcntl.LOCK_EX, _BUCKET_BYTES, self._start)
        oldest = math.inf
        for at in range(self._start, self._start + _BUCKET_BYTES, _SLOT.size):
            key, window, count, last, paid, used = _SLOT.unpack_from(self._quotas._map, at)
            if key == self._key:
                self._at, self.window, self.count, self.last, self.paid = at, window, count, last, paid
                return self
            if used < oldest:
                oldest, self._at = used, at
        self.window = self.count = self.last = self.paid = 0.0  # a new one, in place of the one longest unused
        return self

    def __exit__(self, *_: object) -> None:
        values = (self._key, self.window, self.count, self.last, self.paid, self._moment)
        _SLOT.pack_into(self._quotas._map, self._at, *values)
        fcntl.lockf(self._quotas._file, fcntl.LOCK_UN, _BUCKET_BYTES, self._start)
        self._quotas._threads.release()


def _rate_limited(what: str, rate: float, wait: float) -> Refusal:
    return Refusal(
        "rate_limited",
        f"More than {rate:g} {what} per second for this token and stream; wait, or send events in batches.",
        headers=[("Retry-After", str(max(1, math.ceil(wait)))), *Quota(rate, 0, wait).headers()],
    )
