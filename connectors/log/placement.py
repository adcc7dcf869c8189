"""Which partition a record goes to, and what one request becomes in the log: the same for every log."""

from __future__ import annotations

import zlib

import msgspec

from connectors.record import Record


def keyed_partition(request_id: str, partitions: int) -> int:
    """The partition of a request with an Idempotency-Key: CRC-32 of its id, so that a repeat follows its original."""
    return zlib.crc32(request_id.encode()) % partitions


def packed(record: Record, packing: str) -> list[Record]:
    """The records that `record` is written as: itself, or with `packing: event` one an event line."""
    if packing == "request" or record.count == 1:
        return [record]
    return [
        msgspec.structs.replace(record, value=line, count=1, first_index=record.first_index + index)
        for index, line in enumerate(record.value.split(b"\n"))
    ]
