"""What a destination that events are *sent* to has to be able to do: one connection, one request, what was refused.

Batching, order, retries, backoff, dead letters and metrics are the business of `connectors.sinks.push`, once for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import pyarrow as pa

from connectors.errors import Transient


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A row that the destination will never take: its place among the rows sent, and the destination's reason."""

    row: int
    reason: str


class Unfinished(Transient):
    """Some of the rows sent were taken, some `refusals`; those `left` (places, ascending) are to be sent again."""

    def __init__(
        self, what: str, *, left: Sequence[int], refusals: Sequence[Refusal] = (), retry_after: float | None = None
    ) -> None:
        super().__init__(what, retry_after=retry_after)
        self.left = left
        self.refusals = refusals


class Connection(Protocol):
    """One way into the destination, used by one thread at a time."""

    def send(self, stream: str, rows: pa.Table) -> Sequence[Refusal]:
        """Returns once the destination has acknowledged every row but those refused.

        `rows` are the columns of `flows.output.rows_query` (those of a table in the lake, and `_offset`), in log order,
        at most the endpoint's `max_rows`. What is sent again must be the same row under the same `event_id`. Raises
        Transient (none, some or all may have been taken; `retry_after` in seconds where the destination said it),
        Unfinished where the destination said which of them, Rejected when it will never take any, ConfigError where a
        person has to mend something first.
        """

    def close(self) -> None:
        """Ends the connection so that nothing sent is lost (TLS shut down, buffers flushed)."""


class Endpoint(Protocol):
    """A destination of the configuration. `max_rows` and `max_bytes` (of the rows in Arrow) bound what is sent at once."""

    @property
    def max_rows(self) -> int: ...

    @property
    def max_bytes(self) -> int: ...

    def connect(self) -> Connection:
        """Raises Transient while it cannot be reached, ConfigError where it never will (credentials, no such name)."""
