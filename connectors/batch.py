"""From the log's records to columns: what the source hands on is one Arrow table a stream, a row an event.

Nothing here looks at one event: the values of a block are joined, split at newlines and numbered by Arrow and NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from connectors.log import Block
from connectors.record import Record

LINES = pa.schema(
    [
        ("request_id", pa.string()),
        ("index", pa.int64()),
        ("received_at", pa.timestamp("us", "UTC")),
        ("_offset", pa.int64()),
        ("line", pa.string()),
    ]
)
"""One row an event: `line` is its JSON text; (`request_id`, `index`) its identity; `_offset` its record's."""


class StreamLines(msgspec.Struct, frozen=True, gc=False):
    """One stream's part of a batch: its events in log order (`LINES`), and the same lines as one NDJSON text.

    With `to` they are sent again, and for that destination alone.
    """

    stream: str
    table: pa.Table
    ndjson: bytes
    to: str | None = None

    def where(self, chosen: pa.Array | pa.ChunkedArray) -> StreamLines:
        """Those of the lines for which `chosen` is true."""
        return self._with(self.table.filter(chosen))

    def at(self, rows: list[int]) -> StreamLines:
        """The lines in these rows, in this order."""
        return self._with(self.table.take(pa.array(rows, pa.int64())))

    def _with(self, table: pa.Table) -> StreamLines:
        return msgspec.structs.replace(self, table=table, ndjson="\n".join(table.column("line").to_pylist()).encode())


class LogBatch(msgspec.Struct, frozen=True, gc=False):
    """What was read of one partition in one go. `next_offset` is where to read on; a batch may hold no event.

    `start` is where reading began. A batch that is read again for one destination names it in `only` and has a
    `ticket`, by which its arrival is known. `size` are the bytes of the values.
    """

    partition: int
    next_offset: int
    streams: tuple[StreamLines, ...] = ()
    flush: bool = False  # asks the destinations to commit what they hold: the dataflow is about to stop
    start: int | None = None
    only: str | None = None
    ticket: int = 0
    size: int = 0


def batch_of(block: Block, *, start: int | None = None, only: str | None = None, ticket: int = 0) -> LogBatch:
    """The block's events by stream, each stream's in log order."""
    by_stream: dict[tuple[str, str | None], tuple[list[int], list[Record]]] = {}
    for offset, record in zip(block.offsets, block.records, strict=True):
        to = None if record.replay is None else record.replay.to
        offsets, records = by_stream.setdefault((record.stream, to), ([], []))
        offsets.append(offset)
        records.append(record if record.replay is None else record.as_sent)
    streams = tuple(_lines(*to, *part) for to, part in by_stream.items())
    size = sum(len(record.value) for record in block.records)
    return LogBatch(block.partition, block.next_offset, streams, False, start, only, ticket, size)


def _lines(stream: str, to: str | None, offsets: list[int], records: list[Record]) -> StreamLines:
    ndjson = b"\n".join(record.value for record in records)
    line = _split(ndjson)
    begins = _begins(pc.binary_length(line).to_numpy())
    lengths = np.diff(np.searchsorted(begins, _begins([len(record.value) for record in records])), append=len(line))
    parent = np.repeat(np.arange(len(records)), lengths)
    starts = np.cumsum(lengths) - lengths - np.array([record.first_index for record in records])
    index = np.arange(len(line)) - np.repeat(starts, lengths)
    received = np.array([record.received_at for record in records], np.int64)
    request_ids = pa.array([record.request_id for record in records], pa.string())
    table = pa.Table.from_arrays(
        [
            request_ids.take(pa.array(parent)),
            pa.array(index, pa.int64()),
            pa.array(received[parent], pa.int64()).cast(pa.timestamp("us", "UTC")),
            pa.array(np.array(offsets, np.int64)[parent]),
            _text(line),
        ],
        schema=LINES,
    )
    return StreamLines(stream, table, ndjson, to)


def _split(ndjson: bytes) -> pa.Array:
    """The lines of a text (large binary), which is copied once."""
    ends = pa.py_buffer(np.array([0, len(ndjson)], np.int64))
    whole = pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(ndjson)])
    return pc.list_flatten(pc.split_pattern(whole, b"\n"))


def _begins(lengths: Sequence[int] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Where each of some texts begins that are joined by a newline."""
    past = np.asarray(lengths, np.int64) + 1
    return np.cumsum(past) - past


def _text(lines: pa.Array) -> pa.Array:
    try:
        return lines.cast(pa.string())
    except pa.ArrowInvalid:  # not UTF-8: no gateway let it in, and no JSON parser will
        return pa.array([line.decode(errors="replace") for line in lines.to_pylist()], pa.string())
