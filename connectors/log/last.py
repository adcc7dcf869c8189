"""The newest events of a stream, read backwards from the log's end; and those that come after."""

from __future__ import annotations

import time
from collections.abc import Iterator

from connectors.errors import HeadraceError
from connectors.log import Block, Log, Reader
from connectors.record import Record

_GROUP = "headrace.looking"  # a reader's name in messages; nothing is ever committed under it
_BYTES = 4_194_304
_FIRST_LOOK = 256  # records of a partition; four times as many at each further look
_PATIENCE = 30.0  # seconds for a log that is slow to answer


def last_records(log: Log, stream: str, events: int) -> tuple[list[Record], dict[int, int]]:
    """(records, next offsets): records of the stream that hold its last `events` events, in order of receipt.

    The first of them may hold some more events. Next offsets are where to read on, by partition.
    """
    probe = log.reader(log.partitions_of(stream), {}, group=_GROUP)
    try:
        ends = probe.end_offsets()
    finally:
        probe.close()
    found: list[Record] = []
    for partition, end in ends.items():
        window = _FIRST_LOOK
        while True:
            records, whole = _records(log, partition, max(0, end - window), end)
            own = [record for record in records if record.stream == stream]
            if whole or sum(record.count for record in own) >= events:
                found += own
                break
            window *= 4
    found.sort(key=lambda record: record.received_at)
    total = 0
    for place in range(len(found) - 1, -1, -1):
        total += found[place].count
        if total >= events:
            return found[place:] if events else [], ends
    return found, ends


def following(log: Log, start: dict[int, int]) -> Iterator[list[Block]]:
    """What is appended from the offsets `start` on, for ever: what can be had now, an empty list where nothing."""
    reader = log.reader(list(start), start, group=_GROUP)
    try:
        while True:
            blocks = [reader.read(partition, max_bytes=_BYTES) for partition in start]
            yield [block for block in blocks if block is not None and block.records]
    finally:
        reader.close()


def _records(log: Log, partition: int, start: int, end: int) -> tuple[list[Record], bool]:
    """The records from `start` up to `end`, and whether they are all that the partition has."""
    reader: Reader | None = None
    try:
        if start:
            try:
                reader = log.reader([partition], {partition: start}, group=_GROUP)
                return _read(reader, partition, end), False
            except HeadraceError:  # deleted by retention: what is left is all there is
                if reader is not None:
                    reader.close()
        reader = log.reader([partition], {}, group=_GROUP)
        return _read(reader, partition, end), True
    finally:
        if reader is not None:
            reader.close()


def _read(reader: Reader, partition: int, end: int) -> list[Record]:
    records: list[Record] = []
    position, deadline = 0, time.monotonic() + _PATIENCE
    while position < end:
        block = reader.read(partition, max_bytes=_BYTES)
        if block is not None:
            position = block.next_offset
            records += [r for o, r in zip(block.offsets, block.records, strict=True) if o < end]
        elif reader.end_offsets()[partition] == 0 or time.monotonic() > deadline:
            break
        else:
            time.sleep(0.01)
    return records
