"""What each step costs alone, beside bare DuckDB doing the same to an Arrow table of the same values."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.measure import HALF, Case, Run
from flows.columns import literal
from flows.config import Stream
from flows.engine import open_engine
from flows.lookups.settings import Lookup
from flows.processor import StreamProcessor, open_pipeline_engine
from flows.routes import Route
from flows.steps import Drop, Enrich, Filter, Mask, Parse, Sample, Set, Step
from flows.steps.parse.grok import expand
from flows.steps.parse.re2 import to_re2
from tests.steps.parsing import lines_of

ACCESS = '10.0.{0}.7 - - [10/Oct/2024:13:55:{1:02d} -0700] "GET /a/{0}.gif HTTP/1.1" 200 {0} "http://x/" "curl/8.{0}"'
JSON = '{{"level": "info", "user": {0}, "took": {1}.5, "path": "/a/{0}", "ok": true}}'
RE2 = to_re2("(?m)" + expand("%{COMBINEDAPACHELOG}", {}, ecs=False).text)
NAMES = ["m", *(f"g{number}" for number in range(11))]
SHAPE = literal('{"level":"VARCHAR","user":"BIGINT","took":"DOUBLE","path":"VARCHAR","ok":"BOOLEAN"}')

PARSED: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "json": (JSON, {}, f"json_transform(m, {SHAPE})"),
    "logfmt": ('level=info user={0} took={1}.5 path=/a/{0} msg="all is well"', {}, None),
    "kv": ("level=info&user={0}&took={1}.5&path=/a/{0}", {"delimiter": "&"}, None),
    "csv": ("{0},{1},abc,/a/{0},200", {"columns": ("a", "b:int", "c", "d", "e:int")}, "string_split(m, ',')"),
    "regex": (
        "user={0} took={1}ms",
        {"pattern": r"user=(?<user>\d+) took=(?<took>\d+)ms"},
        r"regexp_extract(m, 'user=(\d+) took=(\d+)ms', ['user', 'took'])",
    ),
    "grok": (ACCESS, {"pattern": "%{COMBINEDAPACHELOG}"}, f"regexp_extract(m, {literal(RE2)}, {NAMES})"),
    "syslog": ("<34>Oct 11 22:14:{1:02d} host sshd[{0}]: accepted for {0}", {}, None),
    "cef": ("CEF:0|Acme|fw|1.0|100|blocked|5|src=10.0.0.{1} dst=10.0.1.{1} spt={0}", {}, None),
    "url": ("https://example.com:8443/a/{0}?x={1}#f", {}, None),
    "query_string": ("x={0}&y={1}", {}, None),
    "user_agent": ("Mozilla/5.0 (X11; Linux x86_64; rv:{1}.0) Gecko/20100101 Firefox/{1}.0", {}, None),
    "timestamp": ("2024-10-11T22:14:{1:02d}.{0:06d}Z", {}, "TRY_CAST(m AS TIMESTAMP WITH TIME ZONE)"),
}
TEAMS = 100_000
LESS = frozenset({"json", "csv", "hmac", "pii, texts without any"})  # the reference does less than the step

CARD, ADDRESS = "41111111111{0:05d}", "203.0.{1}.{1}"
PLAIN = "GET /a/{0} took {1}ms by worker {1}, all is well"
PERSONAL = "jane{0}@example.com paid with 4111 1111 1111 1111 from 203.0.{1}.7"
MASKED: dict[str, tuple[str, str | None]] = {
    "redact": (CARD, "CASE WHEN m IS NOT NULL THEN '[redacted]' END"),
    "last4": (CARD, "repeat('*', length(m) - 4) || right(m, 4)"),
    "hash": (CARD, "sha256(m)"),
    "hmac": (CARD, "sha256(unhex(sha256(m)))"),
    "ip24": (ADDRESS, "regexp_replace(m, '[0-9]+$', '0')"),
    "null": (CARD, None),
    "pii, texts without any": (PLAIN, "regexp_matches(m, '@|[0-9]{7}')"),
    "pii, three findings in each": (PERSONAL, None),
}
DRAWN = f"CAST('0x' || left(sha256(id), 13) AS BIGINT) < {2**51}"
PAYMENTS: dict[str, tuple[tuple[Step, ...], tuple[Route, ...], str]] = {
    "filter": (
        (Filter("event.status IS DISTINCT FROM 'ok'"),),
        (),
        "SELECT * FROM t WHERE status IS DISTINCT FROM 'ok'",
    ),
    "set": (
        (Set({"event.usd": "event.amount * 1.08", "event.big": "event.amount > 100"}),),
        (),
        "SELECT *, amount * 1.08 AS usd, amount > 100 AS big FROM t",
    ),
    "drop": ((Drop(("event.note", "event.id")),), (), "SELECT * EXCLUDE (note, id) FROM t"),
    "sample by key": ((Sample(0.5, "event.id"),), (), f"SELECT * FROM t WHERE {DRAWN}"),
    "routes": (
        (),
        (Route(to=("siem",), when="event.amount > 100", also=True), Route(to=("lake",))),
        "SELECT *, amount > 100 AS siem FROM t",
    ),
}


def cases(rows: int) -> Iterator[Case]:
    """Every step that needs no memory, on batches of `rows` events."""
    yield from _plain(rows)
    yield _enriched(rows)
    for kind, (text, settings, select) in PARSED.items():
        step = Parse(field="event.m", as_=kind, into="event.p", **settings)  # type: ignore[arg-type]
        yield _case("parse", kind, _texts(text, rows), Stream(id="x", steps=(step,)), _select(select))
    for name, (text, select) in MASKED.items():
        kind = name.split(",")[0]
        step = Mask({"event.m": kind})  # type: ignore[dict-item]
        yield _case("mask", name, _texts(text, rows), Stream(id="x", steps=(step,), mask_key="k"), _select(select))  # type: ignore[arg-type]


def _plain(rows: int) -> Iterator[Case]:
    for name, (steps, routes, sql) in PAYMENTS.items():
        events = [
            {"id": f"u{n % 997}", "amount": n % 300 + 0.25, "status": ("ok", "declined")[n % 2], "note": f"note {n}"}
            for n in range(rows)
        ]
        yield _case("step", name, events, Stream(id="x", steps=steps, routes=routes), sql)


def _enriched(rows: int) -> Case:
    """A lookup of TEAMS rows; the reference joins, and puts the rows in order again."""
    teams = pa.table({"id": [f"u{n}" for n in range(TEAMS)], "team": [f"team {n % 99}" for n in range(TEAMS)]})
    file = Path(tempfile.mkdtemp()) / "teams.parquet"
    pq.write_table(teams, file)
    events = [{"id": f"u{n * 7919 % (2 * TEAMS)}", "n": n} for n in range(rows)]  # half of them are not found
    step = Enrich(lookup="teams", on="event.id", into="event.team")
    engine = open_engine()
    engine.register("given", teams)
    engine.execute("CREATE TABLE teams AS FROM given")
    engine.register("t", pa.Table.from_pylist(events))
    query = "SELECT t.*, team FROM t LEFT JOIN teams USING (id) ORDER BY n"
    return Case(
        "step",
        "enrich",
        rows,
        _process(Stream(id="x", steps=(step,), lookups={"teams": Lookup(file=file, key="id")}), events),
        _process(Stream(id="x"), events),
        lambda: engine.sql(query).to_arrow_table(),
        "a join, in order",
        HALF,
    )


def _texts(text: str, rows: int) -> list[dict[str, Any]]:
    return [{"m": text.format(number, number % 60)} for number in range(rows)]


def _select(expression: str | None) -> str | None:
    return None if expression is None else f"SELECT {expression} AS v FROM t"


def _case(group: str, name: str, events: list[dict[str, Any]], stream: Stream, sql: str | None) -> Case:
    return Case(
        group,
        name,
        len(events),
        _process(stream, events),
        _process(Stream(id="x"), events),
        None if sql is None else _query(events, sql),
        "" if sql is None else "less than that" if name in LESS else "the same",
        HALF if sql is not None and name not in LESS else None,
    )


def _process(stream: Stream, events: list[dict[str, Any]]) -> Run:
    processor = StreamProcessor("s", stream, "lake", open_pipeline_engine())
    lines = lines_of([{"source": "s", "event": event} for event in events])
    return lambda: processor.process(lines)


def _query(events: list[dict[str, Any]], sql: str) -> Run:
    engine = open_engine()
    engine.register("t", pa.Table.from_pylist(events))
    return lambda: engine.sql(sql).to_arrow_table()
