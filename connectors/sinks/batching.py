"""How many rows go to a destination at once, and when."""

from __future__ import annotations

from datetime import timedelta

import msgspec


class Batching(msgspec.Struct, frozen=True):
    """When rows are sent: so many or so large (in Arrow) together, or once the oldest has waited for `linger`.

    `concurrency` bounds the requests under way, `capacity` the bytes that are held for the destination.
    """

    rows: int = 1_000
    size: int = 4_194_304
    linger: timedelta = timedelta(milliseconds=100)
    concurrency: int = 8
    capacity: int = 67_108_864
