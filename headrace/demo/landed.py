"""What of the sent events is in the lake, read back with SQL."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from headrace.demo.running import Failed
from headrace.terminal import announce

QUERIES = (
    (
        "payments by status",
        "SELECT event.status AS status, count(*) AS payments, sum(event.amount) AS total,"
        " round(quantile_cont(event.latency_ms, 0.95)) AS p95_ms FROM payments GROUP BY ALL ORDER BY payments DESC",
    ),
    (
        "the event that curl sent",
        "SELECT timestamp, source, event.transactionId, event.amount, metadata.team FROM payments"
        " WHERE event.transactionId = 'txn_30921'",
    ),
    (
        "server errors of the shop by path",
        "SELECT event.path AS path, count(*) FILTER (event.status >= 500) AS errors, count(*) AS requests"
        " FROM web GROUP BY ALL ORDER BY errors DESC, path",
    ),
)

_LANDED_DEADLINE = 180.0  # seconds


class Tally(NamedTuple):
    """What was sent to a stream, and what its pipeline drops of it."""

    stream: str
    sent: int
    dropped: int = 0

    @property
    def landing(self) -> int:
        return self.sent - self.dropped


def wait_until_landed(config: Path, tallies: list[Tally]) -> None:
    """Until each stream has as many rows as it must; Failed, with what is missing, after three minutes."""
    announce("")
    deadline = time.monotonic() + _LANDED_DEADLINE
    while True:
        landed = _landed(config)
        short = [tally for tally in tallies if landed.get(tally.stream, (0, 0))[0] < tally.landing]
        if not short:
            return
        if time.monotonic() > deadline:
            missing = ", ".join(f"{t.stream}: {landed.get(t.stream, (0, 0))[0]:,} of {t.landing:,}" for t in short)
            raise Failed(f"not everything landed within {_LANDED_DEADLINE:.0f} s: {missing}")
        time.sleep(0.5)


def show(config: Path) -> None:
    """Prints some queries and their answers."""
    from headrace.lake import connect

    with connect(config) as lake:
        for title, sql in QUERIES:
            announce(f"{title}\n{sql}")
            lake.sql(sql).show()


def account(config: Path, tallies: list[Tally]) -> None:
    """Prints sent against landed; raises Failed unless every event is there once."""
    landed = _landed(config)
    announce(f"{'stream':12} {'sent':>9} {'filtered':>9} {'landed':>9} {'distinct':>9}")
    wrong = []
    for tally in tallies:
        rows, events = landed.get(tally.stream, (0, 0))
        announce(f"{tally.stream:12} {tally.sent:9,} {tally.dropped:9,} {rows:9,} {events:9,}")
        if not tally.landing == rows == events:
            wrong.append(tally.stream)
    announce(f"{'all':12} {sum(t.sent for t in tallies):9,} {sum(t.dropped for t in tallies):9,}")
    if wrong:
        raise Failed(f"events are missing or doubled in: {', '.join(wrong)}")
    announce("every event is there, once")


def _landed(config: Path) -> dict[str, tuple[int, int]]:
    """For each stream that has a table: its rows, and how many different events they are."""
    from headrace.lake import connect

    with connect(config) as lake:
        views = lake.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        counts = {
            name: lake.execute(f'SELECT count(*), count(DISTINCT event_id) FROM "{name}"').fetchall()[0]
            for (name,) in views
        }
    return {name: (int(rows), int(events)) for name, (rows, events) in counts.items()}
