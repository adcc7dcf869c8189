"""The rows of one log partition and stream on their way to a destination: one request at a time, so order is kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from connectors.sinks.connection import Refusal
from connectors.views import whole

OFFSET = "_offset"


class Refused(msgspec.Struct, frozen=True):
    """Rows that the destination will never take, and why, row by row."""

    rows: pa.Table
    reasons: tuple[str, ...]


class Lane:
    """Rows waiting, rows being sent, rows refused. Its user holds a lock; times are monotonic seconds."""

    def __init__(self, partition: int, stream: str) -> None:
        self.partition = partition
        self.stream = stream
        self.busy = False  # a thread works for this lane
        self.attempts = 0  # failures since the last success
        self.not_before = 0.0
        self.rows = 0  # waiting or being sent
        self.bytes = 0  # of all that is held, as Arrow counts
        self.since = 0.0  # since when the oldest of the waiting rows waits
        self._waiting: deque[tuple[pa.Table, float]] = deque()
        self._sending: pa.Table | None = None
        self._refused: list[Refused] = []

    def add(self, rows: pa.Table, now: float) -> None:
        """Takes rows in offset order."""
        if not self._waiting:
            self.since = now
        self._waiting.append((rows, now))
        self.rows += rows.num_rows
        self.bytes += rows.nbytes

    def batch(self, most_rows: int, most_bytes: int) -> pa.Table | None:
        """The rows to send next: those that were being sent before, or as many of those that wait as one request takes."""
        if self._sending is None and self._waiting:
            self._sending = self._taken(most_rows, most_bytes)
        return self._sending

    def acknowledge(self, refusals: Sequence[Refusal], left: Sequence[int] = ()) -> None:
        """The rows being sent were taken, but those refused, and those `left` (places in ascending order) to send again."""
        sent = self._sending
        assert sent is not None
        self._sending = sent.take(pa.array(left, pa.int64())) if left else None
        if refusals:
            rows = sent.take(pa.array([refusal.row for refusal in refusals], pa.int64()))
            self._refused.append(Refused(rows, tuple(refusal.reason for refusal in refusals)))
        self.rows -= sent.num_rows - len(left)
        self.bytes = sum(table.nbytes for table in self._held())

    def finished(self, handed_over: int) -> int:
        """The lowest offset of which a row is still to be sent; `handed_over` where there is none."""
        if self._sending is not None:
            return _first(self._sending)
        return _first(self._waiting[0][0]) if self._waiting else handed_over

    def letters(self, end: int) -> list[Refused]:
        """The refused rows of offsets below `end`, which has to be what `finished` says.

        Those of a record that is only partly sent wait: a table that has offset n keeps nothing more of what is below.
        """
        return [part for one in self._refused if (part := _where(one, pc.less(one.rows.column(OFFSET), end)))]

    def settled(self, end: int) -> None:
        """The rows that `letters(end)` gave are safe in the dead letters."""
        left = [_where(one, pc.greater_equal(one.rows.column(OFFSET), end)) for one in self._refused]
        self._refused = [one for one in left if one]
        self.bytes = sum(table.nbytes for table in self._held())

    def first(self) -> int | None:
        """The lowest offset that is neither acknowledged nor safe in the dead letters; None where nothing is held."""
        held = [_first(one.rows) for one in self._refused]
        if self._sending is not None or self._waiting:
            held.append(self.finished(0))
        return min(held, default=None)

    def due(self, now: float, linger: float, most_rows: int, most_bytes: int, *, flush: bool) -> float | None:
        """The time from which this lane has something to do; None where it has not."""
        if self.busy or (self._sending is None and not self._waiting and not self._refused):
            return None
        if self._sending is not None or not self._waiting:
            return self.not_before
        full = flush or self.rows >= most_rows or self.bytes >= most_bytes
        return max(self.not_before, now if full else self.since + linger)

    def _taken(self, most_rows: int, most_bytes: int) -> pa.Table:
        taken: list[pa.Table] = []
        rows = size = 0
        while self._waiting:
            table, since = self._waiting[0]
            if taken and not table.schema.equals(taken[0].schema, check_metadata=True):
                break
            fits = _fitting(table, most_rows - rows, most_bytes - size, at_least=0 if taken else 1)
            if not fits:
                break
            self._waiting.popleft()
            taken.append(table.slice(0, fits))
            rows, size = rows + fits, size + taken[-1].nbytes
            if fits < table.num_rows:
                self._waiting.appendleft((table.slice(fits), since))
                break
        self.since = self._waiting[0][1] if self._waiting else 0.0
        return whole(pa.concat_tables(taken))

    def _held(self) -> list[pa.Table]:
        sending = [] if self._sending is None else [self._sending]
        return [*sending, *(table for table, _ in self._waiting), *(one.rows for one in self._refused)]


def _fitting(table: pa.Table, rows: int, size: int, *, at_least: int) -> int:
    """How many of the table's first rows are no more than `rows` and, in Arrow, `size` bytes."""
    count: int = max(min(table.num_rows, rows), 0)
    while count > at_least and table.slice(0, count).nbytes > size:
        count //= 2
    return max(count, at_least)


def _where(refused: Refused, chosen: pa.ChunkedArray) -> Refused | None:
    """Those of the rows that are chosen; None where none is."""
    rows = refused.rows.filter(chosen)
    reasons = [why for why, is_one in zip(refused.reasons, chosen.to_pylist(), strict=True) if is_one]
    return Refused(rows, tuple(reasons)) if reasons else None


def _first(rows: pa.Table) -> int:
    return int(rows.column(OFFSET)[0].as_py())
