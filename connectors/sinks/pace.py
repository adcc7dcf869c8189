"""How hard a destination is pressed: how many requests at once, and how long to leave it alone after a failure.

The number of requests follows what the destination shows, as TCP's window follows a network (AIMD): one more after a
round of answers no slower than usual, a tenth fewer once answers slow down, half after a failure. So no one has to
guess a rate, and a destination that is drowning is not pushed under.
"""

from __future__ import annotations

import random

BASE, LONGEST = 0.1, 30.0  # seconds: the first pause's upper bound, and the last's
_SPREAD = 2.5  # answers slower than the mean by so many mean deviations count as slow
_FLOOR = 0.02  # seconds: what an answer may take on top in any case
_OPEN_AFTER = 5  # failures without a success between them: only one request tries until one succeeds


def jittered(attempt: int, chance: random.Random) -> float:
    """Seconds to wait before attempt `attempt` (1 is the first retry): anything up to a bound that doubles.

    "Full jitter": https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return chance.uniform(0, min(LONGEST, BASE * 2 ** min(attempt, 20)))


class Pace:
    """The state of one destination in one process. Times are monotonic seconds."""

    def __init__(self, most: int, chance: random.Random | None = None) -> None:
        """`most` requests may ever be under way at once."""
        self._most = most
        self._limit = 1.0
        self._mean = self._deviation = 0.0
        self._failures = 0
        self._lowered = 0.0
        self.chance = chance or random.Random()  # noqa: S311 -- it spreads retries, nothing more
        self.not_before = 0.0
        """No request begins before this."""

    @property
    def limit(self) -> int:
        """How many requests may be under way."""
        return 1 if self.is_open else max(1, int(self._limit))

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open: so many failures that only one request at a time finds out whether it is over."""
        return self._failures >= _OPEN_AFTER

    def succeeded(self, seconds: float, now: float) -> None:
        """Takes note of an answer that took so long."""
        self._failures = 0
        if self._mean and seconds > self._mean + max(_FLOOR, _SPREAD * self._deviation):
            self._lower(0.9, seconds, now)
        else:
            self._limit = min(self._most, self._limit + 1 / self._limit)
        if not self._mean:
            self._mean, self._deviation = seconds, seconds / 2
        self._deviation += (abs(seconds - self._mean) - self._deviation) / 16
        self._mean += (seconds - self._mean) / 16

    def failed(self, seconds: float, now: float, retry_after: float | None = None) -> None:
        """Takes note of a failure; `retry_after` seconds are what the destination asked for."""
        self._failures += 1
        self._lower(0.5, seconds, now)
        pause = jittered(self._failures, self.chance) if self.is_open else 0.0
        self.not_before = max(self.not_before, now + max(pause, retry_after or 0.0))

    def _lower(self, by: float, seconds: float, now: float) -> None:
        # Requests that were under way together say the same thing: it counts once.
        if now - seconds >= self._lowered:
            self._limit = max(1.0, self._limit * by)
            self._lowered = now
