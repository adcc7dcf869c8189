"""`window`: gives each event the aggregates over its key's events of the last minutes. It has a memory, so it is no layer
of a query: `flows.stateful.window` runs it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import msgspec

from connectors.values import Between, Duration
from flows.kinds import Aggregate, Identifier

WindowLength = Annotated[timedelta, Between(timedelta(milliseconds=1), timedelta(days=366))]


class Window(msgspec.Struct, frozen=True):
    """Adds to each event, at `event.<name>.<aggregate>`, aggregates over the events of its `key` within `length`.

    Within means: event time (`timestamp`) in [t - length, t], both ends, the event itself and those of the same instant
    included; in SQL `… OVER (PARTITION BY key ORDER BY timestamp RANGE BETWEEN length PRECEDING AND CURRENT ROW)`.
    NULL is a key too. An event is held until the watermark, `lateness` behind the newest event time, has passed it;
    one that comes after that is late: it goes on at once, with NULL aggregates and `_late: true`, and counts in no
    window. When the whole stream has been silent for `idle`, all that is held goes on.

        steps:
          - window: {name: velocity, key: event.user_id, length: 5m, lateness: 10s,
                     aggregate: {txns: count(*), total: sum(event.amount)}}
    """

    name: Identifier
    key: str
    length: WindowLength
    aggregate: dict[Identifier, Aggregate]
    lateness: Duration = timedelta(seconds=10)
    idle: Duration = timedelta(seconds=10)
