"""What the running (or stopped) dataflow has of a stream and a destination, and what it will bring there yet.

A replay into a table that the dataflow writes too must not bring what the dataflow brings: that comes twice otherwise.
What lies below the offsets that the dataflow has published is in its destinations; so is what lies below the table's own
`txn` actions; the rest is left to the dataflow. A stream with a memory is read by a lane of its own, and of what that has
read something may still be held or be on its way: its store says which events.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import msgspec
import pyarrow as pa
from deltalake import DeltaTable

from connectors.log import Log
from connectors.sinks.settings import DeltaDestination
from connectors.sinks.snowflake.settings import SnowflakeDestination
from connectors.sinks.upkeep import open_table
from flows.config import Config, Stream
from flows.config.rules import routed_to
from flows.graph import NAME
from flows.processor import open_pipeline_engine
from flows.stateful.lanes import remembers
from flows.stateful.opening import open_rollups
from flows.stateful.store import store_file, table_from

_CLOSED = 4  # which of a rollup's marks tells how far its windows are closed (`flows.stateful.rollup`)


class Live(msgspec.Struct, frozen=True):
    """Below `until` (by partition) a replay may bring events, except for `held` (their ids); past it the dataflow does.

    `published` is how far the dataflow has read at least. `closed` gives by rollup table the time (microseconds) up to
    which its windows have been given; it is empty for one that the dataflow has not begun.
    """

    until: dict[int, int]
    published: dict[int, int]
    held: frozenset[str] = frozenset()
    closed: dict[str, int] = {}


def gives_events(stream: Stream, destination: str) -> bool:
    """Whether a route of the stream can send events to the destination."""
    return destination in routed_to(stream)


def gives_rollups(stream: Stream, destination: str) -> bool:
    """Whether a rollup of the stream goes to the destination."""
    return any(destination in rollup.to for rollup in stream.rollups)


def look(config: Config, log: Log, name: str, destination: str) -> Live:
    """What the dataflow is bringing of the stream called `name`. Ask before looking into the destination's tables."""
    stream = config.streams[name]
    partitions = range(log.partitions)
    if remembers(stream):
        return _look_into_lane(config, log, name, destination)
    published = log.committed(NAME)
    until = {p: published.get(p, 0) for p in partitions}
    settings = config.destinations[destination]
    if isinstance(settings, DeltaDestination):
        table = open_table(settings, name)
        until = {p: max(at, committed(table, log, name, p)) for p, at in until.items()}
    elif isinstance(settings, SnowflakeDestination):
        from connectors.sinks.snowflake.looking import Looking  # its client takes a second to import

        looking = Looking(settings)
        there = looking.offsets(log.identity, name)
        looking.close()
        until = {p: max(at, there.get(p, 0)) for p, at in until.items()}
    return Live(until, published)


def committed(table: DeltaTable | None, log: Log, stream: str, partition: int) -> int:
    """Up to which offset of a partition the dataflow has committed to a stream's table."""
    app = f"headrace/{quote(log.identity, safe='')}/{stream}/{partition}"
    return 0 if table is None else table.transaction_version(app) or 0


def _look_into_lane(config: Config, log: Log, name: str, destination: str) -> Live:
    file = store_file(config.data, log.identity, name)
    if not file.exists():
        return Live(dict.fromkeys(range(log.partitions), 0), {})
    with closing(_snapshot(file)) as db:
        read = dict(db.execute("SELECT partition, next FROM positions"))
        pieces = [(step, piece, data) for step, piece, data in db.execute("SELECT step, name, data FROM pieces")]
        outbox = [data for (data,) in db.execute("SELECT data FROM outbox WHERE destination = ?", (destination,))]
        handed_over = db.execute("SELECT value FROM about WHERE name = 'handed_over'").fetchone()
    if handed_over:  # it had lost its memory and has not got it back yet
        read = {p: min(at, log.committed(NAME).get(p, 0)) for p, at in read.items()}
    held: set[str] = set()
    for data in [*outbox, *(data for _, _, data in pieces)]:
        table = table_from(data)
        if "event_id" in table.column_names:
            held.update(table["event_id"].cast(pa.string()).to_pylist())
    marks = {step: table_from(data)["mark"].to_pylist() for step, piece, data in pieces if piece == "marks"}
    rollups = open_rollups(name, config.streams[name], open_pipeline_engine())
    closed = {rollup.table: marks[rollup.key][_CLOSED] for rollup in rollups if rollup.key in marks}
    until = {p: read.get(p, 0) for p in range(log.partitions)}
    return Live(until, read, frozenset(held), closed)


def _snapshot(file: Path) -> sqlite3.Connection:
    db = sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=30, isolation_level=None)
    db.execute("BEGIN")
    return db
