"""A part of a log as a log of its own: one stream's records of a span of offsets and of time.

What it publishes goes nowhere: retention and lag tools hear nothing of who reads it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import msgspec

from connectors.log import Block, Log, LogSettings, Position, Reader
from connectors.record import Record


class Span(msgspec.Struct, frozen=True):
    """Offsets `[start, end)` by partition, and of their records those received in `[since, until)` (microseconds)."""

    start: dict[int, int]
    end: dict[int, int]
    since: int | None = None
    until: int | None = None

    @property
    def size(self) -> int:
        """How many offsets there are."""
        return sum(max(0, end - self.start[partition]) for partition, end in self.end.items())

    def done(self, at: Mapping[int, int]) -> int:
        """How many of them lie before the positions `at`."""
        return sum(max(0, min(at.get(p, start), self.end[p]) - start) for p, start in self.start.items())

    def has(self, record: Record) -> bool:
        """Whether the record was received in time."""
        return (self.since is None or record.received_at >= self.since) and (
            self.until is None or record.received_at < self.until
        )


class SpanLog:
    """The records of `stream` (an id) in `span` of `log` (implements `Log`). `identity` names it in the destinations.

    Repeats are told as in the whole log: what came before the span counts.
    """

    def __init__(
        self, log: Log, span: Span, stream: str, identity: str, into: str | None = None, *, group: str
    ) -> None:
        """With `into` an event that was sent again for one destination counts for that one only, otherwise for all.

        `group` is that of the pipeline that reads the span: it begins at its start, and no other has read anything.
        """
        self._group = group
        self.identity = identity
        self._into = into
        self._log = log
        self._span = span
        self._stream = stream

    @property
    def partitions(self) -> int:
        return self._log.partitions

    def partitions_of(self, stream: str) -> Sequence[int]:
        return self._log.partitions_of(stream)

    def place(self, partition: int) -> tuple[str, int]:
        return self._log.place(partition)

    def take(self, settings: LogSettings) -> None:
        self._log.take(settings)

    def extend(self, end: Mapping[int, int]) -> None:
        """The span ends later, for its readers too."""
        self._span.end.update(end)

    def append(self, record: Record) -> Position:
        raise NotImplementedError("a part of a log is only read")

    def check(self) -> None:
        self._log.check()

    def reader(self, partitions: Sequence[int], start: Mapping[int, int], *, group: str) -> SpanReader:
        begin = {p: max(start.get(p, 0), self._span.start[p]) for p in partitions}
        reader = self._log.reader(partitions, begin, group=group)
        return SpanReader(reader, self._span, self._stream, begin, self._into)

    def committed(self, group: str) -> dict[int, int]:
        """Where everyone of the pipeline begins who has no place of its own."""
        return dict(self._span.start) if group == self._group else {}

    def keyed_requests(self, partition: int, *, since: int, before_offset: int) -> list[tuple[str, str, int, int, int]]:
        return self._log.keyed_requests(partition, since=since, before_offset=before_offset)

    def bounds(self) -> dict[int, tuple[int, int]]:
        return {p: (start, self._span.end[p]) for p, start in self._span.start.items()}

    def offsets_at(self, instant: int) -> dict[int, int]:
        return self._log.offsets_at(instant)

    def close(self) -> None:
        self._log.close()


class SpanReader:
    """Reads no further than the span's end (implements `Reader`)."""

    def __init__(
        self, reader: Reader, span: Span, stream: str, begin: Mapping[int, int], into: str | None = None
    ) -> None:
        self._into = into
        self._reader = reader
        self._span = span
        self._stream = stream
        self._next = dict(begin)
        self._ahead: dict[int, Block] = {}  # what was read past the end: the span may be extended

    def read(self, partition: int, *, max_bytes: int) -> Block | None:
        end = self._span.end[partition]
        if self._next[partition] >= end:
            return None
        block = self._ahead.pop(partition, None) or self._reader.read(partition, max_bytes=max_bytes)
        if block is None:
            return None
        if block.next_offset > end:
            inside = bisect_left(block.offsets, end)
            self._ahead[partition] = msgspec.structs.replace(
                block, offsets=block.offsets[inside:], records=block.records[inside:]
            )
        self._next[partition] = next_offset = min(block.next_offset, end)
        kept = [
            (offset, self._for_all(record))
            for offset, record in zip(block.offsets, block.records, strict=True)
            if offset < end and record.stream == self._stream and self._span.has(record) and self._is_new(record)
        ]
        return Block(partition, [offset for offset, _ in kept], [record for _, record in kept], next_offset)

    def _is_new(self, record: Record) -> bool:
        """Whether its events, where they are sent again, are neither read in the span nor for another destination."""
        if record.replay is None:
            return True
        partition, offset = record.replay.origin or (-1, 0)
        if self._span.start.get(partition, 0) <= offset < self._span.end.get(partition, 0):
            return False
        return self._into is None or record.replay.to in (None, self._into)

    def _for_all(self, record: Record) -> Record:
        if record.replay is None or record.replay.to is None or self._into is not None:
            return record
        return msgspec.structs.replace(record, replay=msgspec.structs.replace(record.replay, to=None))

    def end_offsets(self) -> dict[int, int]:
        return {partition: self._span.end[partition] for partition in self._next}

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Nobody is told."""

    def forget(self) -> None:
        """Nobody was told."""

    def close(self) -> None:
        self._reader.close()
