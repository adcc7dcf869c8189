"""The watermark of a stream: how far its event time has surely come, by what has been received.

It is exclusive: events before it are late. It follows the newest event time at a distance, event by event and not batch by
batch, so how the events were cut into batches changes nothing. All times are UTC microseconds.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

NEVER = -(1 << 62)
"""Before all time. Event times are held to half of it on either side, so that no sum overflows."""


class Watermark(msgspec.Struct):
    """`value`, `lateness` behind the `newest` event time; `received` is when the last event came.

    After a silence longer than `idle` it moves past the newest event. With `every`, the length of windows that close as a
    whole, it then moves on to the end of the newest event's window too, if that is over by the clock.
    """

    lateness: int
    idle: int
    every: int = 0
    value: int = NEVER
    newest: int = NEVER
    received: int = NEVER

    def follow(self, times: Any, received: Any) -> Any:
        """Takes events (int64 arrays: their time and receipt, in order); gives the watermark as each of them met it."""
        newest = np.maximum.accumulate(np.concatenate(([self.newest], times)))
        last = np.maximum.accumulate(np.concatenate(([self.received], received)))
        silent = (received - last[:-1] > self.idle) & (last[:-1] != NEVER)
        behind = np.where(newest[:-1] == NEVER, NEVER, newest[:-1] - self.lateness)
        met = np.where(silent, self._settled(newest[:-1], received), behind)
        met = np.maximum.accumulate(np.maximum(met, self.value))
        if len(met):
            self.newest, self.received = int(newest[-1]), int(last[-1])
            self.value = max(int(met[-1]), self.newest - self.lateness)
        return met

    def settle(self, now: int) -> None:
        """Nothing has come up to `now`: moves on if the silence has lasted long enough."""
        if self.newest != NEVER and now - self.received > self.idle:
            self.value = max(self.value, int(self._settled(np.int64(self.newest), np.int64(now))))

    def end(self) -> None:
        """Nothing will come: all that came has passed."""
        if self.newest != NEVER:
            self.value = max(self.value, self.newest + 1, self._end(self.newest) if self.every else NEVER)

    def marks(self) -> tuple[int, int, int]:
        """What there is to be remembered of it."""
        return self.value, self.newest, self.received

    def take_up(self, marks: tuple[int, int, int]) -> None:
        """Goes on from these marks."""
        self.value, self.newest, self.received = marks

    def _settled(self, newest: Any, now: Any) -> Any:
        past = newest + 1
        return np.maximum(past, np.minimum(now - self.lateness, self._end(newest))) if self.every else past

    def _end(self, time: Any) -> Any:
        return (time // self.every + 1) * self.every
