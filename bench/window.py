"""What a `window` costs: the step alone, batch after batch, beside DuckDB's window query over all the events at once.

It is of the group `memory`; python -m bench.window tells the memory of a million live keys.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pyarrow as pa

from bench.measure import HALF, Case, Run
from flows.columns import EVENT_ID, LATE, OFFSET, RECEIVED_AT, SAMPLE_RATE, SOURCE, STREAM, SYSTEM, TIMESTAMP, dotted
from flows.engine import open_engine
from flows.stateful.operator import Flat, Operator
from flows.stateful.window import open_window
from flows.steps import Window

KEYS, LENGTH = 100_000, timedelta(minutes=5)
START = 1_714_521_600_000_000
AGGREGATES = {
    "txns": "count(*)",
    "total": "sum(event.amount)",
    "slowest": "max(event.latency_ms)",
}
COLUMNS = {
    **{path: SYSTEM[path] for path in (EVENT_ID, TIMESTAMP, RECEIVED_AT, SOURCE, STREAM, OFFSET, SAMPLE_RATE)},
    ("event", "user_id"): "VARCHAR",
    ("event", "amount"): "DOUBLE",
    ("event", "latency_ms"): "BIGINT",
    ("event", "status"): "VARCHAR",
}


def events(first: int, count: int, keys: int, per_second: int, *, each_once: bool = False) -> Flat:
    """`count` events, the first of them number `first` of all, a few seconds out of order."""
    random = np.random.default_rng(first)
    number = np.arange(first, first + count)
    received = START + number * 1_000_000 // per_second
    times = received - random.integers(0, 5_000_000, count)
    user = number % keys if each_once else random.integers(0, keys, count)
    instant = pa.timestamp("us", "UTC")
    values = [
        np.char.add("11111111-", number.astype("U12")),
        pa.array(times, instant),
        pa.array(received, instant),
        pa.array(["web"] * count),
        pa.array(["payments"] * count),
        number,
        np.ones(count),
        pa.array(np.char.add("user-", user.astype("U8"))),
        np.round(random.uniform(1, 500, count), 2),
        random.integers(1, 900, count),
        pa.array(["ok"] * count),
    ]
    return Flat(pa.table(dict(zip(map(dotted, COLUMNS), map(pa.array, values), strict=True))), COLUMNS)


def step() -> Window:
    """The step that is measured: the contract's example."""
    return Window(name="velocity", key="event.user_id", length=LENGTH, aggregate=AGGREGATES)


def cases(rows: int) -> Iterator[Case]:
    """A key in three events within the window, in batches of 32,000 (with `rows` 20,000): what a backlog is read in."""
    batch = 8 * rows // 5
    flats = [events(first, batch, KEYS, 1_000) for first in range(0, 16 * batch, batch)]
    name = f"window, {KEYS:,} keys, five minutes"
    once = "`… OVER (PARTITION BY … RANGE …)` over all events at once"
    yield Case("memory", name, 16 * batch, lambda: batch_by_batch(flats), None, at_once(flats), once, HALF)


def at_once(flats: list[Flat]) -> Run:
    """The one query over all events."""
    table = pa.concat_tables([flat.table for flat in flats])
    items = ", ".join(
        f"{text.replace('event.amount', 'x.a').replace('event.latency_ms', 'x.l')} OVER w AS {name}"
        for name, text in AGGREGATES.items()
    )
    query = (
        f'SELECT *, {items} FROM (SELECT *, "event.amount" AS a, "event.latency_ms" AS l, epoch_us("timestamp") AS t'
        ' FROM all_events) x WINDOW w AS (PARTITION BY "event.user_id" ORDER BY t'
        f" RANGE BETWEEN {LENGTH // timedelta(microseconds=1)} PRECEDING AND CURRENT ROW)"
    )
    engine = open_engine(memory_limit="8GB")
    engine.register("all_events", table)
    return lambda: engine.sql(query).to_arrow_table()


def batch_by_batch(flats: list[Flat]) -> None:
    """The step over the same events, its state's changes included."""
    with open_engine(memory_limit="8GB") as engine:
        operator = open_window(step(), engine)
        count = sum(_on_time(operator, flat) for flat in flats)
        count += sum(flat.table.num_rows for flat in operator.finish())
    assert count == sum(flat.table.num_rows for flat in flats)


def _on_time(operator: Operator, flat: Flat) -> int:
    given = operator.take(flat)
    assert all(LATE not in one.columns for one in given)
    operator.changes()
    return sum(one.table.num_rows for one in given)


def main(keys: int = 1_000_000, batch: int = 50_000) -> None:
    """Prints what the process holds with a key an event, all of them within the window."""
    per_second = keys // 200
    with open_engine(memory_limit="8GB") as engine:
        operator = open_window(step(), engine)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for first in range(0, keys + 20 * per_second, batch):
            _on_time(operator, events(first, batch, keys, per_second, each_once=True))
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{keys:,} live keys: {after / 1e6:.2f} GB at most, {before / 1e6:.2f} GB of it without them")


if __name__ == "__main__":
    main()
