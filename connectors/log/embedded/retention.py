"""What the embedded log deletes: the oldest records past its age or size, and only what every pipeline has read.

A record that some pipeline still has to read is kept past both limits, and a warning says so; if that goes on until the
disk is full, appends are refused, and the senders know. A pipeline counts once it has committed offsets; while none
has, nothing is deleted. Space that is freed is used again; the file does not shrink.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from connectors.log.embedded.store import begin, end_offsets, offset_of, roll_back, row_id
from connectors.log.settings import EmbeddedLogSettings

_CHUNK_RECORDS = 1000
_CHUNK_BYTES = 8_388_608  # a chunk holds the write lock for some 10 ms
_HOUR = 3_600_000_000  # microseconds


class Retained(NamedTuple):
    """What one chunk of retention did; `unread`: the oldest records left are past a limit, and not yet read."""

    deleted: int
    unread: bool


def delete_chunk(connection: sqlite3.Connection, settings: EmbeddedLogSettings, *, now: int) -> Retained:
    """Deletes at most one chunk of what is past the limits at `now` (microseconds); call again while it deletes."""
    cutoff = now - settings.retention_hours * _HOUR
    oldest = _oldest(connection)
    over = _bytes_over(connection, settings.retention_bytes)
    if not oldest or (oldest[0][0] >= cutoff and over <= 0):
        return Retained(0, unread=False)
    begin(connection)
    try:
        retained = _delete(connection, cutoff, over)
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise
    return retained


def _delete(connection: sqlite3.Connection, cutoff: int, over: int) -> Retained:
    safe = _safe_offsets(connection)
    unread = False
    for received_at, partition, first in _oldest(connection):
        if received_at >= cutoff and over <= 0:
            break
        if first >= safe[partition]:
            unread = True
            continue
        last = _last_of_chunk(connection, partition, first, safe[partition], cutoff=cutoff, over=over)
        connection.execute(
            "DELETE FROM records WHERE position >= ? AND position <= ?",
            (row_id(partition, first), row_id(partition, last)),
        )
        connection.execute("UPDATE partitions SET first = ? WHERE partition = ?", (last + 1, partition))
        return Retained(last + 1 - first, unread)
    return Retained(0, unread)


def _oldest(connection: sqlite3.Connection) -> list[tuple[int, int, int]]:
    """The oldest record of each partition that has one, as (received at, partition, offset), oldest first."""
    rows = connection.execute(
        "SELECT received_at, position FROM records WHERE position IN"
        " (SELECT (SELECT min(position) FROM records"
        "  WHERE position >= partition << 48 AND position < (partition + 1) << 48) FROM partitions)"
        " ORDER BY received_at"
    )
    return [(received_at, position >> 48, offset_of(position)) for received_at, position in rows]


def _last_of_chunk(
    connection: sqlite3.Connection, partition: int, first: int, safe: int, *, cutoff: int, over: int
) -> int:
    last = first
    freed = 0
    rows = connection.execute(
        "SELECT position, received_at, length(value) FROM records WHERE position >= ? AND position < ?"
        " ORDER BY position LIMIT ?",
        (row_id(partition, first), row_id(partition, safe), _CHUNK_RECORDS),
    )
    for position, received_at, size in rows.fetchall():
        if received_at >= cutoff and freed >= over:
            break
        last = offset_of(position)
        freed += size
        if freed >= _CHUNK_BYTES:
            break
    return last


def _safe_offsets(connection: sqlite3.Connection) -> list[int]:
    """For each partition, the offset below which every pipeline has read; its first one where none has."""
    ends = end_offsets(connection)
    groups = [name for (name,) in connection.execute("SELECT DISTINCT name FROM groups")]
    if not groups:
        return [0] * len(ends)
    committed = {(name, partition): offset for name, partition, offset, _ in connection.execute("SELECT * FROM groups")}
    return [min(committed.get((name, partition), 0) for name in groups) for partition in range(len(ends))]


def _bytes_over(connection: sqlite3.Connection, limit: int) -> int:
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return int((pages - free) * page_size) - limit
