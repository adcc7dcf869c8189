"""One stream's records from all partitions of the log, in the order of their receipt.

A partition's records come in offset order, each at the time of the latest so far in its partition. What is merged goes
only as far as every partition has been read, so one that is read slower is waited for, and one that has nothing new is
not. Repeats of a request with an Idempotency-Key are left out, as in `connectors.source`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import accumulate

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from connectors.dedupe import Dedupe
from connectors.log import Block, Log
from connectors.record import Record
from connectors.telemetry import EVENTS_REPEATED

_OFFSET_BITS = 48


def place(partition: int, offset: int) -> int:
    """A partition and an offset in it as one integer, as `_offset` holds them in a stream read from all partitions."""
    return partition << _OFFSET_BITS | offset


def split_places(places: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """The partitions and the offsets of a column of places."""
    return pc.shift_right(places, _OFFSET_BITS), pc.bit_wise_and(places, (1 << _OFFSET_BITS) - 1)


class Merged(msgspec.Struct, frozen=True, gc=False):
    """Records in the order of receipt with their places, and the positions to read on from once they are dealt with."""

    places: list[int]
    records: list[Record]
    positions: dict[int, int]


class _Partition:
    def __init__(self, position: int) -> None:
        self.position = position  # the next offset that has not been handed on
        self.read_to = position
        self.waiting: deque[tuple[int, int, Record]] = deque()  # (received at, offset, record)
        self.clock = 0
        self.ended = False
        self.dedupe: Dedupe | None = None


class MergedReader:
    """Reads the stream of this id. Belongs to one thread; `name` is the stream's, `group` that of its offsets."""

    def __init__(
        self,
        log: Log,
        stream: str,
        name: str,
        positions: Mapping[int, int],
        window: int,
        group: str,
        until: Mapping[int, int] | None = None,
        others: Sequence[tuple[int, int, int]] = (),
    ) -> None:
        """`window` is the dedupe window in microseconds. With `until` nothing from there on is read, by partition.

        What others have read is passed over: (partition, first offset, offset past the last).
        """
        self._until = until
        self._others = others
        self._log = log
        self._stream = stream
        self._name = name
        self._window = window
        start = {partition: offset for partition, offset in positions.items() if offset}
        partitions = log.partitions_of(stream)
        self._reader = log.reader(partitions, start, group=group)
        self._parts = {partition: _Partition(positions.get(partition, 0)) for partition in partitions}

    @property
    def at_end(self) -> bool:
        """Whether all that the log had when last asked has been handed on."""
        return all(part.ended and not part.waiting for part in self._parts.values())

    @property
    def positions(self) -> dict[int, int]:
        """The next offset of each partition that has not been handed on."""
        return {number: part.position for number, part in self._parts.items()}

    def read(self, max_bytes: int) -> Merged:
        """What can be handed on now: about `max_bytes` at most. Raises Transient, and then nothing is lost."""
        share = max(max_bytes // len(self._parts), 1 << 16)
        for number, part in self._parts.items():
            if not part.waiting:
                self._fill(number, part, share)
        behind = [part.waiting[-1][0] for part in self._parts.values() if part.waiting and not part.ended]
        bound = min(behind, default=None)
        taken: list[tuple[int, int, Record]] = []
        for number, part in self._parts.items():
            while part.waiting and (bound is None or part.waiting[0][0] <= bound):
                at, offset, record = part.waiting.popleft()
                taken.append((at, place(number, offset), record))
            part.position = part.waiting[0][1] if part.waiting else part.read_to
        taken.sort(key=lambda item: item[0])
        return Merged([where for _, where, _ in taken], [record for _, _, record in taken], self.positions)

    def _fill(self, number: int, part: _Partition, share: int) -> None:
        until = None if self._until is None else self._until.get(number, 0)
        if until is not None and part.read_to >= until:
            part.ended = True
            return
        block = self._reader.read(number, max_bytes=share)
        if block is None or block.next_offset == part.read_to:
            part.ended = True
            return
        if until is not None and block.next_offset > until:
            below = sum(offset < until for offset in block.offsets)
            block = Block(number, block.offsets[:below], block.records[:below], until)
        size = sum(len(record.value) for record in block.records)
        part.ended = size < share // 2  # a block is filled as far as there is something
        part.read_to = block.next_offset
        kept = self._fresh(number, part, block)
        clocks = list(accumulate((record.received_at for _, record in kept), max, initial=part.clock))[1:]
        part.waiting.extend((at, offset, record) for at, (offset, record) in zip(clocks, kept, strict=True))
        part.clock = clocks[-1] if clocks else part.clock

    def _fresh(self, number: int, part: _Partition, block: Block) -> list[tuple[int, Record]]:
        """The stream's own records of the block that repeat none."""
        own = [(o, r) for o, r in zip(block.offsets, block.records, strict=True) if r.stream == self._stream]
        for _, begin, end in (those for those in self._others if those[0] == number):
            own = [(o, r) for o, r in own if not begin <= o < end]
        if not any(record.keyed for _, record in own):
            return own
        if part.dedupe is None:
            part.dedupe = Dedupe({self._stream: self._window})
            since = block.records[0].received_at - part.dedupe.longest
            part.dedupe.remember(self._log.keyed_requests(number, since=since, before_offset=block.offsets[0]))
        kept = []
        for offset, record in own:
            if part.dedupe.is_repeat(record, offset):
                EVENTS_REPEATED.labels(self._name).inc(record.count)
            else:
                kept.append((offset, record))
        return kept

    def commit(self, positions: Mapping[int, int]) -> None:
        """Tells retention and lag tools that everything below is safe elsewhere."""
        self._reader.commit(positions)

    def forget(self) -> None:
        """Tells retention that nothing more is read here."""
        self._reader.forget()

    def close(self) -> None:
        self._reader.close()
