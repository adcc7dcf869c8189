"""What each kind of `parse` costs: events/s of one core, beside bare DuckDB doing the least that gives the same fields.

python -m bench.parse            # some 20 s; --rows N for another number of events
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import pyarrow as pa

from flows.columns import literal
from flows.config import Stream
from flows.engine import open_engine
from flows.processor import StreamProcessor, open_pipeline_engine
from flows.steps import Parse
from flows.steps.parse.grok import expand
from flows.steps.parse.re2 import to_re2
from tests.steps.parsing import lines_of

ACCESS = '10.0.{0}.7 - - [10/Oct/2024:13:55:{1:02d} -0700] "GET /a/{0}.gif HTTP/1.1" 200 {0} "http://x/" "curl/8.{0}"'
JSON = '{{"level": "info", "user": {0}, "took": {1}.5, "path": "/a/{0}", "ok": true}}'
TEXTS = {
    "json": JSON,
    "logfmt": 'level=info user={0} took={1}.5 path=/a/{0} msg="all is well"',
    "kv": "level=info&user={0}&took={1}.5&path=/a/{0}",
    "csv": "{0},{1},abc,/a/{0},200",
    "regex": "user={0} took={1}ms",
    "grok": ACCESS,
    "syslog": "<34>Oct 11 22:14:{1:02d} host sshd[{0}]: accepted for {0}",
    "cef": "CEF:0|Acme|fw|1.0|100|blocked|5|src=10.0.0.{1} dst=10.0.1.{1} spt={0}",
    "url": "https://example.com:8443/a/{0}?x={1}#f",
    "query_string": "x={0}&y={1}",
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:{1}.0) Gecko/20100101 Firefox/{1}.0",
    "timestamp": "2024-10-11T22:14:{1:02d}.{0:06d}Z",
}
MORE: dict[str, dict[str, object]] = {
    "kv": {"delimiter": "&"},
    "csv": {"columns": ("a", "b:int", "c", "d", "e:int")},
    "regex": {"pattern": r"user=(?<user>\d+) took=(?<took>\d+)ms"},
    "grok": {"pattern": "%{COMBINEDAPACHELOG}"},
}
RE2 = to_re2("(?m)" + expand("%{COMBINEDAPACHELOG}", {}, ecs=False).text)
NAMES = ["m", *(f"g{number}" for number in range(11))]
SHAPE = literal('{"level":"VARCHAR","user":"BIGINT","took":"DOUBLE","path":"VARCHAR","ok":"BOOLEAN"}')
BARE = {
    "json": f"json_transform(m, {SHAPE})",
    "csv": "string_split(m, ',')",
    "regex": r"regexp_extract(m, 'user=(\d+) took=(\d+)ms', ['user', 'took'])",
    "grok": f"regexp_extract(m, {literal(RE2)}, {NAMES})",
    "timestamp": "TRY_CAST(m AS TIMESTAMP WITH TIME ZONE)",
}


def best_of(times: int, run: Callable[[], object]) -> float:
    """The seconds of the fastest of several runs, after one that warms up."""
    run()
    seconds = []
    for _ in range(times):
        began = time.process_time()
        run()
        seconds.append(time.process_time() - began)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    rows = parser.parse_args().rows
    print("| `as` | step alone | whole pipeline | bare DuckDB |\n|---|---|---|---|")
    for kind, text in TEXTS.items():
        texts = [text.format(number, number % 60) for number in range(rows)]
        lines = lines_of([{"source": "s", "event": {"message": one}} for one in texts])
        step = Parse(field="event.message", as_=kind, into="event.p", **MORE.get(kind, {}))  # type: ignore[arg-type]
        plain, parsing = (
            StreamProcessor("s", Stream(id="x", steps=steps), "lake", open_pipeline_engine()) for steps in ((), (step,))
        )
        without = best_of(3, lambda plain=plain, lines=lines: plain.process(lines))  # type: ignore[misc]
        whole = best_of(3, lambda parsing=parsing, lines=lines: parsing.process(lines))  # type: ignore[misc]
        bare = "—"
        if kind in BARE:
            engine = open_engine()
            engine.register("texts", pa.table({"m": texts}))
            query = f"SELECT {BARE[kind]} AS v FROM texts"
            bare = f"{rows / best_of(3, lambda e=engine, q=query: e.sql(q).to_arrow_table()):,.0f}"  # type: ignore[misc]
        alone = rows / max(whole - without, 1e-9)
        print(f"| `{kind}` | {alone:,.0f} | {rows / whole:,.0f} | {bare} |", flush=True)


if __name__ == "__main__":
    main()
