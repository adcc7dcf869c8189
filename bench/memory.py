"""What the steps with a memory cost, fed batch by batch, beside one DuckDB query over all events at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta

import pyarrow as pa

from bench import window
from bench.measure import HALF, Case, Run
from flows.columns import SYSTEM, Columns, column, dotted
from flows.engine import open_engine
from flows.rollups import Rollup
from flows.stateful.operator import Flat, Operator
from flows.stateful.rollup import open_rollup
from flows.stateful.sampler import open_sampler
from flows.stateful.window import open_window
from flows.steps import Dynamic, Per, Sample, Window

BATCHES = 10
STEP = 500  # microseconds between two events: 2,000 a second
START = 1_714_521_600_000_000
KEYS = 5_000
COLUMNS: Columns = {**SYSTEM, ("event", "k"): "VARCHAR", ("event", "x"): "BIGINT"}
K, X, T, R, ID = (
    column(path) for path in (("event", "k"), ("event", "x"), ("timestamp",), ("received_at",), ("event_id",))
)

WINDOW = Window(
    name="v", key="event.k", length=timedelta(seconds=30), aggregate={"n": "count(*)", "total": "sum(event.x)"}
)
ROLLUP = Rollup(
    name="r", every=timedelta(seconds=1), by=("event.k",), aggregate={"n": "count(*)", "top": "max(event.x)"}
)
SECOND = f"epoch_us({R}) // 1000000"


def cases(rows: int) -> Iterator[Case]:
    """`window`, `rollups` and both throttles, over BATCHES batches of `rows` events of KEYS keys."""
    parts = _batches(rows)
    whole = pa.concat_tables([part.table for part in parts])
    frame = f"PARTITION BY {K} ORDER BY {T} RANGE BETWEEN INTERVAL 30 SECONDS PRECEDING AND CURRENT ROW"
    known: dict[str, tuple[Callable[[], Operator], str, str]] = {
        "window": (
            lambda: open_window(WINDOW, open_engine()),
            f"SELECT *, count(*) OVER w AS n, sum({X}) OVER w AS total FROM t WINDOW w AS ({frame})",
            "`… OVER (PARTITION BY … RANGE …)`",
        ),
        "rollups": (
            lambda: open_rollup(ROLLUP, "s", open_engine()),
            f"SELECT 's_r/' || w || '/' || left(sha256({K}), 16) AS id, w + INTERVAL 1 SECOND AS until, CAST(w AS DATE), *"
            f" FROM (SELECT time_bucket(INTERVAL 1 SECOND, {T}) AS w, {K}, count(*), max({X}) FROM t GROUP BY ALL)",
            "`… GROUP BY`, with an id for each row",
        ),
        "sample per": (
            lambda: open_sampler(Sample(per=Per(1, "event.k")), 0, 0, open_engine()),
            f"SELECT *, count(*) OVER (PARTITION BY {SECOND}, {K}) AS seen FROM t"
            f" QUALIFY row_number() OVER (PARTITION BY {SECOND}, {K} ORDER BY hash({ID})) <= 1",
            "`… QUALIFY row_number() …`",
        ),
        "sample dynamic": (
            lambda: open_sampler(Sample(dynamic=Dynamic(500, "event.k")), 0, 0, open_engine()),
            f"SELECT *, count(*) OVER (PARTITION BY {SECOND}, {K}) AS seen FROM t"
            f" QUALIFY row_number() OVER (PARTITION BY {SECOND} ORDER BY hash({ID})) <= 500",
            "`… QUALIFY row_number() …`",
        ),
    }
    for name, (opened, sql, does) in known.items():
        yield Case("memory", name, rows * BATCHES, _fed(opened, parts), None, _query(whole, sql), does, HALF)
    yield from window.cases(rows)


def _batches(rows: int) -> list[Flat]:
    pick = random.Random(1)
    found = []
    for batch in range(BATCHES):
        numbers = range(batch * rows, (batch + 1) * rows)
        values = {
            "event_id": [f"e{n}" for n in numbers],
            "timestamp": [START + n * STEP for n in numbers],
            "received_at": [START + n * STEP for n in numbers],
            "source": ["s"] * rows,
            "stream": ["s"] * rows,
            "_sample_rate": [1.0] * rows,
            "_offset": list(numbers),
            "event.k": [f"user-{pick.randrange(KEYS)}" for _ in numbers],
            "event.x": [n % 1000 for n in numbers],
        }
        arrays = {dotted(path): _array(values.get(dotted(path), [None] * rows), kind) for path, kind in COLUMNS.items()}
        found.append(Flat(pa.table(arrays), COLUMNS))
    return found


def _array(values: list[object], kind: str) -> pa.Array:
    known = {"BIGINT": pa.int64(), "DOUBLE": pa.float64(), "BOOLEAN": pa.bool_()}
    if kind == "TIMESTAMP WITH TIME ZONE":
        return pa.array(values, pa.int64()).cast(pa.timestamp("us", "UTC"))
    if kind.startswith("MAP"):
        return pa.array(values, pa.map_(pa.string(), pa.string()))
    return pa.array(values, known.get(kind, pa.string()))


def _fed(opened: Callable[[], Operator], parts: list[Flat]) -> Run:
    def run() -> int:
        operator = opened()
        given = 0
        for part in parts:
            given += sum(one.table.num_rows for one in operator.take(part))
            operator.changes()  # as after each batch of a dataflow, where they are then written
        return given + sum(one.table.num_rows for one in operator.finish())

    return run


def _query(whole: pa.Table, sql: str) -> Run:
    engine = open_engine()
    engine.register("t", whole)
    return lambda: engine.sql(sql).to_arrow_table()
