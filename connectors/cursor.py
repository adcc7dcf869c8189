"""A place in a partition of the log from which batches are read: for all destinations, or again for one of them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from connectors.batch import LogBatch, batch_of
from connectors.dedupe import Dedupe
from connectors.errors import Transient
from connectors.log import Block, Log, Reader
from connectors.telemetry import EVENTS_REPEATED

BATCH_BYTES = 8 * 1024 * 1024
"""Values read in one go: some 30,000 events of 260 bytes."""


class Reading(msgspec.Struct, frozen=True):
    """What cursors of a process share. `names` maps stream ids to names; `windows` gives dedupe windows by stream id."""

    log: Log
    group: str
    windows: Mapping[str, int]
    names: Mapping[str, str]


class Cursor:
    """Reads `partition` from `position` on, without repeats of keyed requests; what it remembers of them is its own.

    With `only` its batches are for that destination alone. Belongs to one thread.
    """

    def __init__(self, reading: Reading, partition: int, position: int, only: str | None = None) -> None:
        self.position = position
        self.ticket = 0
        self._reading = reading
        self._partition = partition
        self._only = only
        self._reader: Reader | None = None
        self._dedupe: Dedupe | None = None
        self._recalled: tuple[int, list[tuple[str, str, int, int, int]]] | None = None

    def another(self, position: int, only: str) -> Cursor:
        """A cursor of the same partition."""
        return Cursor(self._reading, self._partition, position, only)

    def read(self, *, ticket: int = 0) -> LogBatch | None:
        """The next batch, which gets the `ticket`; None where nothing more can be had now.

        Raises Transient while the log cannot be read.
        """
        block = self._opened().read(self._partition, max_bytes=BATCH_BYTES)
        if block is None or block.next_offset == self.position:
            return None
        try:
            block = self._without_repeats(block)
        except Transient:
            self.close()  # its reader has gone past the block
            raise
        start, self.position = self.position, block.next_offset
        self.ticket = ticket
        return batch_of(block, start=start, only=self._only, ticket=ticket)

    def move(self, position: int) -> None:
        """Reads on from another place."""
        if position != self.position:
            self.close()
            self.position = position
            self._dedupe = None

    def commit(self, offset: int) -> None:
        """Tells lag tools and retention that everything below is safe."""
        self._opened().commit({self._partition: offset})

    def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _opened(self) -> Reader:
        if self._reader is None:
            start = {self._partition: self.position} if self.position else {}
            self._reader = self._reading.log.reader([self._partition], start, group=self._reading.group)
        return self._reader

    def _without_repeats(self, block: Block) -> Block:
        if not any(record.keyed for record in block.records):
            return block
        if self._dedupe is None:
            self._dedupe = self._remembering(block)
        kept = []
        for offset, record in zip(block.offsets, block.records, strict=True):
            if not self._dedupe.is_repeat(record, offset):
                kept.append((offset, record))
            elif self._only is None:
                EVENTS_REPEATED.labels(self._reading.names.get(record.stream, "unknown")).inc(record.count)
        return Block(block.partition, [o for o, _ in kept], [r for _, r in kept], block.next_offset)

    def _remembering(self, block: Block) -> Dedupe:
        """What was received before the block. A destination that fails again and again begins at one place each time."""
        dedupe = Dedupe(self._reading.windows)
        before = block.offsets[0]
        if self._recalled is None or self._recalled[0] != before:
            since = block.records[0].received_at - dedupe.longest
            self._recalled = (
                before,
                self._reading.log.keyed_requests(self._partition, since=since, before_offset=before),
            )
        dedupe.remember(self._recalled[1])
        if self._only is None:
            self._recalled = None
        return dedupe
