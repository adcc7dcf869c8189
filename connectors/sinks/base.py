"""What every destination shares: how rows reach it, and how far the log is safe in it.

A destination may hold rows back to write them together. What it has not committed is not lost by a crash: each has a
*floor*, the lowest offset it still holds uncommitted, from which the source reads again for it, and the destination
skips what it has already (`Writer.stage`). The source and the destinations of a partition run in one process (the graph
gives each process its own partitions), so the floor is a plain method call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import duckdb
import msgspec
import pyarrow as pa

if TYPE_CHECKING:
    from connectors.sinks.delivery import Delivery


_PATIENCE = 2.0
"""Seconds that the others wait for a destination without room: a commit takes as long, and reading twice costs more."""


class Rows(msgspec.Struct, frozen=True, gc=False):
    """Rows of one stream for one destination, in log order; `table` has a column `_offset` (the record's)."""

    stream: str
    table: pa.Table


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one log batch: rows by destination. Everything below `next_offset` of `partition` is accounted for.

    `flush` asks the destinations to commit what they hold. `only`, `ticket` and `size` are those of the batch, and so
    is `start`; without one the outcome cannot be had again, so that a destination has to take it.
    """

    partition: int
    next_offset: int
    rows: Mapping[str, Sequence[Rows]]
    flush: bool = False
    start: int | None = None
    only: str | None = None
    ticket: int = 0
    size: int = 0


class Writer(Protocol):
    """A destination within one process. Called by one thread, that of its `connectors.sinks.delivery.Delivery`."""

    def stage(self, partition: int, rows: Sequence[Rows], next_offset: int) -> None:
        """Takes rows of a partition, in order; those it has committed before are skipped.

        Everything below `next_offset` has then been handed over. Raises Transient, Fenced.
        """

    def commit(self, *, everything: bool) -> None:
        """Commits what is due, or everything that is held. Raises Transient, Fenced."""

    def floor(self, partition: int) -> int | None:
        """The lowest offset of the partition that is not safe yet; None before anything of it was handed over."""

    def reset(self) -> None:
        """Forgets all that is not committed and all that is believed of the destination, as a new process would.

        What is handed over next begins at the floor or below it.
        """

    @property
    def held_bytes(self) -> int:
        """How many bytes, as Arrow counts, it holds. Any thread may ask."""

    @property
    def capacity(self) -> int:
        """How many bytes it should be given to hold; a `commit` may take it above for a moment."""


class Rejects(Protocol):
    """Takes rows that a table must not have (`schema: reject`), or cannot."""

    def reject(
        self,
        rows: pa.Table,
        origin: pa.Table,
        stream: str,
        destination: str,
        offsets: Mapping[int, int],
        engine: duckdb.DuckDBPyConnection,
        *,
        part: str = "",
    ) -> None:
        """Makes `rows` safe elsewhere, before the table they were taken out of is committed. Destinations' threads call it.

        `origin` has their `_partition` and `_offset`, and their `_reason` where it is another than that they do not fit
        the columns; `offsets` are the next offsets wanted by partition once the table is committed. `part` names a part
        of the table that is committed on its own. Raises Fenced, Transient.
        """

    def reset(self, destination: str) -> None:
        """Forgets what is not committed of the rows that were taken out of this destination's tables."""


class Progress:
    """How far each destination is in each partition of this process, and whether more should be read."""

    def __init__(self) -> None:
        self._deliveries: list[Delivery] = []

    def register(self, delivery: Delivery) -> None:
        """Adds a destination of the graph; all are registered before the first batch is read."""
        self._deliveries.append(delivery)

    @property
    def names(self) -> list[str]:
        """The destinations."""
        return [delivery.name for delivery in self._deliveries]

    def begin(self, partition: int, wanted: Mapping[str, int], position: int) -> None:
        """Reading for all begins at `position`; each destination wants what it is named with."""
        for delivery in self._deliveries:
            delivery.begin(partition, wanted[delivery.name], position)

    def floors(self, partition: int, start: int) -> dict[str, int]:
        """By destination, the offset to resume from; `start` is where this process began reading."""
        found = {delivery.name: delivery.floor(partition) for delivery in self._deliveries}
        return {name: start if floor is None else floor for name, floor in found.items()}

    def floor(self, partition: int, start: int) -> int:
        """The lowest of the `floors`."""
        return min(self.floors(partition, start).values(), default=start)

    def behind(self, partition: int) -> list[Delivery]:
        """The destinations for which the partition has to be read again."""
        return [delivery for delivery in self._deliveries if delivery.is_behind(partition)]

    def may_read(self, partition: int) -> bool:
        """Whether the others should be handed more: one that is short of room for long is not waited for, unless all are."""
        current = [delivery for delivery in self._deliveries if not delivery.is_behind(partition)]
        room = {delivery.name: delivery.has_room() for delivery in current}
        carrying = [delivery for delivery in current if delivery.carries]
        if not any(room[delivery.name] for delivery in carrying):
            return False
        return all(room[one.name] or one.without_room_for() > _PATIENCE for one in current)

    def expect(self, size: int) -> None:
        """A batch of `size` bytes of the log is on its way to all."""
        for delivery in self._deliveries:
            delivery.expect(size)

    def holds_nothing(self, partition: int, position: int) -> bool:
        """Whether all that was read up to `position` has arrived, and all that was taken is safe."""
        return all(delivery.holds_nothing(partition, position) for delivery in self._deliveries)

    def check(self) -> None:
        """Raises what ended a destination's thread."""
        for delivery in self._deliveries:
            delivery.check()
