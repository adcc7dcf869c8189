"""What a `window` costs: the step alone, batch after batch, against DuckDB's window query over all the events at once.

python -m bench.window            # some 30 s; --events N, --batch N for other sizes
python -m bench.window --live     # memory with a million live keys, instead
"""

from __future__ import annotations

import argparse
import resource
import time
from datetime import timedelta

import numpy as np
import pyarrow as pa

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


def at_once(flats: list[Flat]) -> float:
    """CPU seconds of the one query over all events."""
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
    with open_engine(memory_limit="8GB") as engine:
        engine.register("all_events", table)
        begin = time.process_time()
        assert engine.sql(query).to_arrow_table().num_rows == table.num_rows
        return time.process_time() - begin


def batch_by_batch(flats: list[Flat]) -> float:
    """CPU seconds of the step over the same events."""
    with open_engine(memory_limit="8GB") as engine:
        operator = open_window(step(), engine)
        begin, count = time.process_time(), 0
        for flat in flats:
            count += _on_time(operator, flat)
        count += sum(flat.table.num_rows for flat in operator.finish())
        spent = time.process_time() - begin
    assert count == sum(flat.table.num_rows for flat in flats)
    return spent


def _on_time(operator: Operator, flat: Flat) -> int:
    given = operator.take(flat)
    assert all(LATE not in one.columns for one in given)
    operator.changes()
    return sum(one.table.num_rows for one in given)


def live(keys: int, batch: int) -> None:
    """A key an event, all of them within the window: what the process holds."""
    per_second = keys // 200
    with open_engine(memory_limit="8GB") as engine:
        operator = open_window(step(), engine)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for first in range(0, keys + 20 * per_second, batch):
            _on_time(operator, events(first, batch, keys, per_second, each_once=True))
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{keys:,} live keys: {after / 1e6:.2f} GB at most, {before / 1e6:.2f} GB of it without them")


def main() -> None:
    """Prints events a second of CPU time, best of three."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--batch", type=int, default=50_000)
    parser.add_argument("--per-second", type=int, default=1_000)
    parser.add_argument("--live", action="store_true")
    given = parser.parse_args()
    if given.live:
        live(1_000_000, given.batch)
        return
    flats = [events(first, given.batch, KEYS, given.per_second) for first in range(0, given.events, given.batch)]
    rate = {
        name: given.events / min(work(flats) for _ in range(3))
        for name, work in (("at once", at_once), ("batch by batch", batch_by_batch))
    }
    print(f"at once {rate['at once']:,.0f}, batch by batch {rate['batch by batch']:,.0f}:", end=" ")
    print(f"{rate['batch by batch'] / rate['at once']:.2f}")


if __name__ == "__main__":
    main()
