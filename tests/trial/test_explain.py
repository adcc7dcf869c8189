"""`headrace explain`: the SQL that is shown is the SQL that runs."""

from __future__ import annotations

from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Transient
from flows.compile import compile_pipeline
from flows.config import load
from flows.output import rows_query
from flows.processor import open_pipeline_engine
from flows.shape import Shape, learn, relation
from flows.stages import Stages
from flows.structures import Structures
from flows.trial import example_lines, explain
from flows.trial.spacing import spaced
from tests.trial.conftest import Bench
from tests.trial.test_preview import EVENTS, PARSED, PARSING, PIPELINE

NASTY = """
steps:
  - set: {event.x: "'a, (b' || event.m", 'event."q ""x"" , FROM ("': "'SELECT\\n  -- no'"}
  - drop: [event.debug]
  - filter: event.x LIKE '%, (b%' OR event.m IS NULL
"""

WAITING = """
steps:
  - mask: {event.card: last4, "event.users.*.phone": redact}
  - mask: {event.m: hash}
  - filter: event.status IS DISTINCT FROM 'ok'
  - mask: {event.status: redact}
  - sample: {rate: 0.5, key: event.k, keep: "event.status = 'ok'"}
  - set: {event.n: event.card}
"""


@pytest.mark.parametrize(
    ("pipeline", "events"),
    [
        (PIPELINE, EVENTS[:3]),
        (WAITING, EVENTS[:3]),
        (NASTY, EVENTS[:3]),
        ("steps: []\n", EVENTS[:3]),
        (PARSING, PARSED),
    ],
)
def test_the_sql_shown_gives_the_rows_that_the_pipeline_gives(
    bench: Bench, pipeline: str, events: tuple[dict[str, Any], ...]
) -> None:
    bench.write(pipeline)
    stream = load(bench.config).streams["payments"]
    lines = example_lines(stream.id, [msgspec.json.encode(event).decode() for event in events], 0)
    with open_pipeline_engine() as engine:
        shape = learn(Shape(), lines.table["line"], lines.ndjson, Structures(engine), stream.types)
        engine.register("batch", lines.table)
        stages = Stages("payments", stream, engine)
        staging = stages.run(*relation(shape, "payments", "batch"))
        plan = compile_pipeline(stream.steps, stream.routes, staging.columns, begun=staging.begun)
        run, _ = rows_query(plan.columns, plan.sql(staging.source), plan.fate_columns)
        shown = explain("payments", stream, shape, "lake", stages.shapes)
        wanted: pa.Table = engine.sql(run).to_arrow_table()
        assert engine.sql(shown.sql).to_arrow_table().equals(wanted)
        assert wanted.num_rows == len(events)
        engine.unregister("batch")


texts = st.lists(st.sampled_from(["a", "'", "''", '"', "(", ")", ",", " FROM ", "SELECT ", "\n", "[", "}"]), max_size=8)


@given(texts, texts)
def test_laying_sql_out_changes_no_value_and_no_name(value: list[str], name: list[str]) -> None:
    text, column = "".join(value), "".join(name) or "c"
    quoted = "'" + text.replace("'", "''") + "'"
    identifier = '"' + column.replace('"', '""') + '"'
    long = f"concat({', '.join([quoted] * 12)}, 'and some more text so that the line is too long for one')"
    sql = f"SELECT {long} AS {identifier}, 1 AS n FROM (SELECT {quoted} AS one FROM (SELECT 1))"
    before, after = duckdb.sql(sql), duckdb.sql(spaced(sql, 1))
    assert (before.columns, before.fetchall()) == (after.columns, after.fetchall())


def test_without_events_it_explains_an_empty_shape_and_says_what_is_null(bench: Bench) -> None:
    bench.write(PIPELINE)
    done = bench.run("explain", "payments")
    assert done.exit_code == 0
    assert "compiled for the shape of 0 events" in done.stdout
    assert "-- steps[0] filter: event.status IS DISTINCT FROM 'healthcheck'" in done.stdout


def test_json_has_the_columns_after_the_last_step(bench: Bench) -> None:
    bench.write(PIPELINE)
    bench.send(*EVENTS)
    import json

    found = json.loads(bench.run("explain", "payments", "--input", bench.events, "--json").stdout)
    assert found["columns"]["event.amount_usd"] == "BIGINT"
    assert "metadata.trace" not in found["columns"]
    assert (found["destinations"], found["events"]) == (["siem", "lake"], 3)


def test_a_log_that_cannot_be_reached_leaves_the_query_to_be_explained(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise Transient("the log cannot be reached")

    bench.write("steps: [{filter: event.a > 1}]")
    monkeypatch.setattr("headrace.trying.last_lines", unreachable)
    result = bench.run("explain", "payments")
    assert result.exit_code == 0
    assert "WITH" in result.stdout
    assert "the log cannot be reached" in result.stderr
