"""Where in the embedded log a time lies: found by halving, as offsets follow the order of receipt but for gateways' clocks."""

from __future__ import annotations

import sqlite3

from connectors.log.embedded.store import end_offsets, row_id


def bounds(connection: sqlite3.Connection) -> dict[int, tuple[int, int]]:
    """As `Log.bounds`."""
    first = dict(connection.execute("SELECT partition, first FROM partitions ORDER BY partition"))
    return {p: (begin, end) for (p, begin), end in zip(first.items(), end_offsets(connection), strict=True)}


def offsets_at(connection: sqlite3.Connection, instant: int) -> dict[int, int]:
    """As `Log.offsets_at`. Offsets of a partition are dense."""
    return {p: _halved(connection, p, *ends, instant) for p, ends in bounds(connection).items()}


def _halved(connection: sqlite3.Connection, partition: int, low: int, high: int, instant: int) -> int:
    query = "SELECT received_at FROM records WHERE position = ?"
    while low < high:
        middle = (low + high) // 2
        found = connection.execute(query, (row_id(partition, middle),)).fetchone()
        if found is None or found[0] < instant:  # None: deleted meanwhile, so older than all that is left
            low = middle + 1
        else:
            high = middle
    return low
