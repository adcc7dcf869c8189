"""What a step with a memory is: rows in, rows out, later or at once, and a state that can be saved and restored.

A stream that has such a step runs whole in one process, its events in the order of their receipt from all partitions, so
an operator needs no lock, no exchange and no merge. After each batch its state's changes, the log offsets read and the
rows that came out are written in one transaction: after a crash all three are as they were at one moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
import pyarrow as pa

from flows.columns import Columns


class Flat(msgspec.Struct, frozen=True, gc=False):
    """Events between two steps: `table` has a column named `dotted(path)` for each path of `columns`, and no other.

    `columns` gives DuckDB types. Leaves come and go and widen from batch to batch: `event.n` may be BIGINT now, DOUBLE or
    JSON later.
    """

    table: pa.Table
    columns: Columns


class Changes(msgspec.Struct, frozen=True, gc=False):
    """What became of an operator's state since it was last asked: pieces put under a name, names taken away."""

    put: Mapping[str, pa.Table] = {}
    gone: Sequence[str] = ()


class Operator(Protocol):
    """One step with a memory, of one stream. Belongs to one thread; deterministic given its calls."""

    def take(self, events: Flat) -> list[Flat]:
        """Takes events in the order of receipt (`received_at` hardly ever falls) and gives those that are ready."""

    def tick(self, now: int) -> list[Flat]:
        """What is ready at `now` (microseconds) though nothing has come: the log is read to its end."""

    def finish(self) -> list[Flat]:
        """What is held, as if all had come: for tests and previews, which end. The state is then at its end too."""

    def letters(self) -> list[tuple[Flat, str]]:
        """Events to be dead letters, each group with its reason, since last asked; they also went their way."""

    def changes(self) -> Changes:
        """How the state differs from when it was last asked for its changes or restored."""

    def restore(self, pieces: Mapping[str, pa.Table]) -> None:
        """Takes the state as all changes together have left it; called once, before anything else."""
