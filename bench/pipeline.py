"""A pipeline as people write them, from lines to the rows of a table, beside one statement of bare DuckDB."""

from __future__ import annotations

import os
from collections.abc import Iterator

import duckdb
import orjson

from bench.measure import Case, Run
from flows.config import Stream
from flows.processor import StreamProcessor, open_pipeline_engine
from flows.steps import Filter, Mask, Sample, Set, Step
from headrace.generate import generate
from tests.steps.parsing import lines_of

TARGET = 0.7
STEPS: tuple[Step, ...] = (
    Filter("event.status IS DISTINCT FROM 'refunded'"),
    Set({"event.usd": "event.amount * 1.08"}),
    Mask({"event.card": "last4", "event.user.email": "hash"}),
    Sample(0.5, "event.user.id"),
)
DECLARED = """{timestamp: 'TIMESTAMPTZ', source: 'VARCHAR',
    event: 'STRUCT("transactionId" VARCHAR, status VARCHAR, latency_ms BIGINT, amount DOUBLE, currency VARCHAR, card VARCHAR,
                   "user" STRUCT(id VARCHAR, email VARCHAR), risk STRUCT(score DOUBLE, rules VARCHAR[]))',
    metadata: 'STRUCT(env VARCHAR, team VARCHAR)'}"""
READ = f"FROM read_json('{{file}}', format = 'newline_delimited', columns = {DECLARED})"
WORKED = f"""
    SELECT timestamp, source, metadata, struct_insert(event, usd := event.amount * 1.08,
           masked := repeat('*', length(event.card) - 4) || right(event.card, 4), hashed := sha256(event."user".email))
    {READ} WHERE event.status IS DISTINCT FROM 'refunded'
      AND CAST('0x' || left(sha256(event."user".id), 13) AS BIGINT) < {2**51}"""


def cases(rows: int) -> Iterator[Case]:
    """Reading alone, and four steps, on one batch of `rows` payments."""
    events = list(generate("payments", rows, seed=1))
    lines = lines_of(events)
    for name, steps, sql in (("reading", (), f"SELECT * {READ}"), ("reading and four steps", STEPS, WORKED)):
        processor = StreamProcessor("s", Stream(id="x", steps=steps), "lake", open_pipeline_engine())
        yield Case(
            "pipeline",
            name,
            rows,
            lambda processor=processor: processor.process(lines),  # type: ignore[misc]
            None,
            _read(b"".join(orjson.dumps(event) + b"\n" for event in events), sql),
            "`read_json`, columns declared" + (", the same done" if steps else ""),
            TARGET,
        )


def _read(text: bytes, sql: str) -> Run:
    file = os.memfd_create("events")
    os.write(file, text)
    engine = duckdb.connect(config={"threads": 1})
    query = sql.replace("{file}", f"/proc/self/fd/{file}")
    return lambda: engine.sql(query).to_arrow_table()
