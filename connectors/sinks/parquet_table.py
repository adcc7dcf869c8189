"""The Parquet files of one stream: rows gathered by date and log partition, written as files that follow each other.

A file holds *all* rows of one date that one partition of one log has in `[from, next)`. Its name says log, partition and
`from`, its footer `next`, which is the `from` of the file after it. So the newest file of a partition in a date's
directory says which rows are there; and as a name is created once, a second writer, or a write that was thought lost
and arrives late after all, cannot put rows there twice: whoever comes second is told.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from uuid import uuid4

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from connectors.errors import Fenced
from connectors.sinks.base import Rejects
from connectors.sinks.fitted import OFFSET, PARTITION, Fitting, by_schema
from connectors.sinks.overlap import fresh
from connectors.sinks.parquet_schema import AgreedSchema
from connectors.sinks.store import Store
from connectors.views import whole

_NEXT = b"headrace.next_offset"
_WRITE = b"headrace.write"
_FOOTER = 65_536  # bytes read of a file's end at first: most footers are shorter
_PIECES = 64  # tables that a part gathers before they are made one: a row a batch must not cost a table each
_REMEMBERED = 4_096  # parts whose place in the log is kept in memory; of others it is read again


class Part:
    """The rows of one date and log partition that wait for their file, and how far the files have them.

    `rows` and `bytes` wait, since `since`; the last came at `touched`, the last file at `written` (monotonic seconds).
    """

    def __init__(self, directory: str, partition: int, committed: int) -> None:
        self.directory = directory
        self.partition = partition
        self.link = committed  # where the next file begins
        self.committed = committed
        self.next = committed
        self.first: int | None = None
        self.rows = 0
        self.bytes = 0
        self.since = self.touched = 0.0
        self.written = float("-inf")
        self.pieces: list[pa.Table] = []

    def add(self, rows: pa.Table, now: float) -> None:
        """Takes rows in offset order, except those that the files have."""
        offsets = rows.column(OFFSET).to_numpy()
        start = int(np.searchsorted(offsets, self.committed))
        if start == len(offsets):
            return
        fresh = whole(rows.slice(start)).append_column(
            PARTITION, pa.array(np.full(len(offsets) - start, self.partition))
        )
        if self.first is None:
            self.first, self.since = int(offsets[start]), now
        self.next = int(offsets[-1]) + 1
        self.touched = now
        self.rows += fresh.num_rows
        self.bytes += fresh.nbytes
        self.pieces.append(fresh)
        if len(self.pieces) >= _PIECES:
            self.pieces = [piece.combine_chunks() for piece in by_schema(self.pieces)]

    def done(self, link: int) -> None:
        """What waited is safe; the next file begins at `link`."""
        self.committed, self.link, self.written = self.next, link, time.monotonic()
        self.first, self.rows, self.bytes, self.pieces = None, 0, 0, []


class ParquetTable:
    """One stream's files. `identity` is the log's: offsets of another log mean nothing here."""

    def __init__(
        self,
        store: Store,
        stream: str,
        identity: str,
        base: pa.Schema,
        *,
        schema_mode: str = "evolve",
        rejects: Rejects | None = None,
        destination: str = "files",
    ) -> None:
        self._store = store
        self._log = hashlib.sha256(identity.encode()).hexdigest()[:12]
        self._schema = AgreedSchema(store, base)
        self._fitting = Fitting(stream, destination, schema_mode, rejects)
        self._parts: OrderedDict[tuple[str, int], Part] = OrderedDict()

    def stage(self, partition: int, rows: pa.Table) -> None:
        """Takes rows of a partition, in offset order. Raises Transient."""
        now = time.monotonic()
        for directory, of_date in _by_date(rows):
            self._part(directory, partition).add(fresh(of_date, partial(self._committed_part, directory)), now)
        if len(self._parts) > _REMEMBERED:
            for key in [key for key, part in self._parts.items() if not part.rows][: len(self._parts) - _REMEMBERED]:
                del self._parts[key]

    @property
    def held_bytes(self) -> int:
        """How many bytes wait. Any thread may ask."""
        return sum(part.bytes for part in list(self._parts.values()))

    def waiting(self) -> list[Part]:
        """The parts that have rows without a file."""
        return [part for part in self._parts.values() if part.rows]

    def write(self, part: Part, engine: duckdb.DuckDBPyConnection) -> None:
        """Writes all that waits of a part as one file. Raises Transient, Fenced."""
        batches = by_schema(part.pieces)
        schema = self._schema.taking(batches, self._fitting, engine)
        offsets = {part.partition: part.next}
        rows = self._fitting.rows(batches, schema, offsets, engine, part=part.directory)
        if not rows.num_rows:  # all rejected, and safe as dead letters
            part.done(part.link)
            return
        write = uuid4().hex.encode()
        name = self._name(part)
        file = _encoded(rows, {_NEXT: str(part.next).encode(), _WRITE: write})
        if not self._store.create(name, file) and self._footer(name).get(_WRITE) != write:
            raise Fenced(
                f"{name} is there already: another dataflow writes partition {part.partition}, or a write that was given"
                " up arrived after all",
                remedy="stop the other `headrace run`, if there is one; a restart reads on from what is there",
            )
        self._fitting.count(rows)
        part.done(part.next)

    def _part(self, directory: str, partition: int) -> Part:
        key = (directory, partition)
        if key not in self._parts:
            self._parts[key] = Part(directory, partition, self._committed(directory, partition))
        self._parts.move_to_end(key)
        return self._parts[key]

    def _committed_part(self, directory: str, partition: int) -> int:
        return self._part(directory, partition).committed

    def _committed(self, directory: str, partition: int) -> int:
        names = self._store.names(directory, f"{self._log}-{partition:05d}-")
        newest = max((name for name in names if name.endswith(".parquet")), default=None)
        return 0 if newest is None else int(self._footer(f"{directory}/{newest}" if directory else newest)[_NEXT])

    def _name(self, part: Part) -> str:
        file = f"{self._log}-{part.partition:05d}-{part.link:020d}.parquet"
        return f"{part.directory}/{file}" if part.directory else file

    def _footer(self, name: str) -> dict[bytes, bytes]:
        tail = self._store.tail(name, _FOOTER)
        length = int.from_bytes(tail[-8:-4], "little") + 8
        if length > len(tail):
            tail = self._store.tail(name, length)
        return dict(pq.read_metadata(pa.BufferReader(tail)).metadata or {})


def _by_date(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows by the directory of their date; those of a table without dates lie in none."""
    if "date" not in rows.column_names:
        yield "", rows
        return
    dates = rows.column("date")
    found = dates.unique().to_pylist()
    for date in found:
        directory = f"date={date if date is not None else '__HIVE_DEFAULT_PARTITION__'}"
        if len(found) == 1:
            yield directory, rows
        else:
            yield directory, rows.filter(pc.is_null(dates) if date is None else pc.equal(dates, date))


def _encoded(rows: pa.Table, notes: dict[bytes, bytes]) -> pa.Buffer:
    """A Parquet file in memory, with `notes` in its footer. The date is in the directory's name, as in Delta."""
    columns = [name for name in rows.column_names if name != "date"]
    sink = pa.BufferOutputStream()
    pq.write_table(rows.select(columns).replace_schema_metadata(notes), sink, compression="zstd", compression_level=3)
    return sink.getvalue()
