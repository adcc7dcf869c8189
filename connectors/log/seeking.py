"""Single records of the log by their places, and all records between two: for commands, beside the dataflow."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

from connectors.errors import HeadraceError, Transient
from connectors.log import Log
from connectors.record import Record

_GROUP = "headrace.looking"  # a reader's name in messages; nothing is ever committed under it
_BYTES = 4_194_304
_NEAR = 20_000  # records that are passed over rather than opened anew behind
_PATIENCE = 30.0  # seconds for a log that is slow to answer


def ends(log: Log) -> dict[int, int]:
    """For each partition, the offset that the next record appended will get."""
    with closing(log.reader(range(log.partitions), {}, group=_GROUP)) as reader:
        return reader.end_offsets()


def between(log: Log, partition: int, start: int, end: int) -> Iterator[tuple[int, Record]]:
    """The records from `start` up to `end`, with their offsets.

    Raises HeadraceError where the log has some of them no more, Transient where it does not answer.
    """
    if start >= end:
        return
    with closing(log.reader([partition], {partition: start}, group=_GROUP)) as reader:
        position, deadline = start, time.monotonic() + _PATIENCE
        while position < end:
            block = reader.read(partition, max_bytes=_BYTES)
            if block is not None:
                position, deadline = block.next_offset, time.monotonic() + _PATIENCE
                yield from (pair for pair in zip(block.offsets, block.records, strict=True) if pair[0] < end)
            elif time.monotonic() > deadline:
                raise Transient(f"reading partition {partition} of the log made no progress", remedy="try again")
            else:
                time.sleep(0.01)


def records_at(log: Log, partition: int, offsets: Sequence[int], end: int) -> dict[int, Record]:
    """The records at these offsets (ascending) that the log still has; `end` is the partition's."""
    found: dict[int, Record] = {}
    wanted = [offset for offset in offsets if offset < end]
    while wanted:
        run = [offset for offset in wanted if offset - wanted[0] < _NEAR]
        try:
            for offset, record in between(log, partition, run[0], run[-1] + 1):
                if offset in run:
                    found[offset] = record
        except Transient:
            raise
        except HeadraceError:  # deleted by retention: what is left begins further on
            first = _first(log, partition, end)
            wanted = [offset for offset in wanted if offset >= max(first, wanted[0] + 1)]
            continue
        wanted = wanted[len(run) :]
    return found


def oldest_received(log: Log, first: Mapping[int, int]) -> list[int]:
    """When (in microseconds) the record at each of the offsets `first`, by partition, was received."""
    return [record.received_at for p, at in first.items() for _, record in between(log, p, at, at + 1)]


def _first(log: Log, partition: int, end: int) -> int:
    """The offset of the oldest record that is left; `end` where there is none."""
    with closing(log.reader([partition], {}, group=_GROUP)) as reader:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            block = reader.read(partition, max_bytes=1)
            if block is not None:
                return block.offsets[0] if block.offsets else block.next_offset
            time.sleep(0.01)
    return end
