"""What a batch costs that does not depend on the machine: queries, and plans of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from connectors.batch import LINES
from flows.config import Stream
from flows.lines import Lines
from flows.processor import StreamProcessor, open_pipeline_engine
from flows.queries import OfShapes, Queries
from flows.routes import Route
from flows.steps import Filter, Mask, Sample, Set
from tests.steps.parsing import lines_of

STREAM = Stream(
    id="x",
    steps=(Filter("event.n > 0"), Mask({"event.card": "last4", "event.mail": "hash"}), Sample(0.5, "event.card")),
    routes=(Route(to=("siem",), when="event.n > 3"), Route(to=("lake",))),
)


class Counting:
    """A connection that notes what it is told."""

    def __init__(self) -> None:
        self._engine = open_pipeline_engine()
        self.told: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._engine, name)

        def noted(*arguments: Any, **named: Any) -> Any:
            self.told.append(f"{name} {arguments[0] if arguments else ''}")
            return method(*arguments, **named)

        return noted


def batch(first: int, count: int = 20, **more: Any) -> Any:
    events = [{"n": n % 7, "card": f"4111{n:08d}", "mail": f"a{n}@b.c", **more} for n in range(first, first + count)]
    return lines_of([{"source": "s", "event": event} for event in events])


def lines(*texts: str) -> pa.Table:
    count = len(texts)
    received = pa.array([0] * count).cast(pa.timestamp("us", "UTC"))
    return pa.table(
        {
            "request_id": ["r"] * count,
            "index": range(count),
            "received_at": received,
            "_offset": [0] * count,
            "line": texts,
        },
        schema=LINES,
    )


def test_a_batch_of_a_known_shape_is_one_query_that_is_planned_already() -> None:
    engine = Counting()
    processor = StreamProcessor("s", STREAM, "lake", engine)  # type: ignore[arg-type]  # it is asked as one
    for number in range(3):
        processor.process(batch(number * 20))
    engine.told.clear()
    processor.process(batch(60))
    assert [told.split(" ")[1] for told in engine.told] == ["EXECUTE"]


def test_streams_with_the_same_steps_whose_events_look_alike_share_what_was_planned() -> None:
    engine = Counting()
    shared = Lines(engine)  # type: ignore[arg-type]  # it is asked as one
    steps = (*STREAM.steps, Set({"event.whose": "stream"}))
    found = []
    for number in range(200):  # more than plans are kept
        engine.told.clear()
        processor = StreamProcessor(f"s{number}", Stream(id="x", steps=steps), "lake", engine, shared)  # type: ignore[arg-type]
        rows = [processor.process(batch(0))["lake"] for _ in range(2)]
        found += [row.column("event").combine_chunks().field("whose").unique().to_pylist() for row in rows]
        if number > 2:
            asked = [told for told in engine.told if not told.startswith("create_function")]
            assert {told.split(" ")[1] for told in asked} == {"EXECUTE"}
    assert found == [[f"s{number}"] for number in range(200) for _ in range(2)]


def test_a_plan_made_earlier_gives_the_rows_of_the_batch_at_hand() -> None:
    queries = Queries(open_pipeline_engine())
    asked = f"SELECT line FROM {queries.source}"
    found = []
    for texts in (("a", "b"), ("c",), ("d", "e", "f"), ()):
        queries.put(lines(*texts))
        found.append(tuple(queries.run(asked).column("line").to_pylist()))
        queries.clear()
    assert found == [("a", "b"), ("c",), ("d", "e", "f"), ()]
    assert queries.run(asked).num_rows == 0  # nothing is left of a batch


@pytest.mark.parametrize("rounds", [1, 4])
def test_more_queries_than_plans_are_kept_give_their_own_rows_all_the_same(rounds: int) -> None:
    queries = Queries(open_pipeline_engine(), kept=3)
    queries.put(lines("a"))
    for _ in range(rounds):
        for number in range(8):
            assert queries.run(f"SELECT {number} AS n FROM {queries.source}").column("n").to_pylist() == [number]


def test_a_plan_outlives_a_change_of_the_catalog() -> None:
    engine = open_pipeline_engine()
    queries = Queries(engine)
    for number in range(4):
        engine.execute(f"CREATE OR REPLACE TEMP TABLE aside AS SELECT {number} AS a, {number} AS b{number}")
        queries.put(lines("x"))
        assert queries.run(f"SELECT a FROM aside, {queries.source}").column("a").to_pylist() == [number]


@pytest.mark.parametrize("rounds", [1, 3])
def test_events_whose_columns_change_are_each_read_as_what_they_are(rounds: int) -> None:
    queries = OfShapes(
        open_pipeline_engine(), lambda columns, source: (f"SELECT x AS found FROM {source}", len(columns))
    )
    arrays = [
        pa.array([1, 2]),
        pa.array(["a", "b"]),
        pa.array(["c", None], pa.large_string()),
        pa.nulls(2),
        *(pa.array([n, None], pa.decimal128(20 + n, 0)) for n in range(18)),
    ]
    for _ in range(rounds):
        for array in arrays:
            for _ in range(3):
                read, about = queries.run({("x",): "any"}, pa.table({"x": array}))
                assert (read.column("found").to_pylist(), about) == (array.to_pylist(), 1)


def test_few_rows_are_held_in_as_much_memory_as_they_need() -> None:
    """DuckDB's own results have room for 2,048 rows in each column: of thousands of streams, each holding a few."""
    processor = StreamProcessor("s", Stream(id="x"), "lake", open_pipeline_engine())
    one = batch(0, 1)
    for _ in range(20):
        processor.process(one)
    before = _resident()
    held = [processor.process(one) for _ in range(2_000)]
    assert _resident() - before < 25_000_000
    assert all(rows["lake"].num_rows == 1 for rows in held)


@pytest.mark.parametrize("count", [1, 2, 127, 128, 3_000])
def test_however_few_they_are_the_rows_are_the_same(count: int) -> None:
    query = "SELECT range AS n, 't' || range AS text, {'a': [range, NULL], 'b': {'c': NULL}} AS deep FROM range({})"
    queries = Queries(open_pipeline_engine())
    plain = open_pipeline_engine().sql(query.replace("{}", str(count))).to_arrow_table()
    for _ in range(3):
        assert queries.run(query.replace("{}", str(count))).equals(plain)


def _resident() -> int:
    """The bytes of this process's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
