"""The whole dataflow, `headrace run --drain` from the embedded log to Delta, beside one statement of bare DuckDB.

    python -m bench.dataflow            # some minutes; --events N, --rounds N, --only NAME

Both are processes of their own and all their CPU time counts, but for what each takes with nothing to do (imports, the
plan): `base` and the statement over an empty file. The statement reads the same events from one NDJSON file and writes
one Parquet file, zstd too, on one thread.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson

from bench.measure import Case, Run, measure, table
from connectors.log import EmbeddedLogSettings, open_log
from connectors.record import Record, new_request_id
from flows.graph import NAME

TARGET = 0.7
BIN = Path(sys.executable).parent
STREAM = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"
RECEIVED = 1_739_350_800_000_000
REQUEST = 500  # events

CONFIG = """
log: {embedded: {path: LOG, partitions: 1}}
data: DATA
streams:
  payments:
    id: a0c3b4de-1923-4ff1-8dba-f92ad912d20f
    steps:
      - filter: event.status IS DISTINCT FROM 'refunded'
      - mask: {event.card: last4, event.email: hash}
      - sample: {rate: 0.5, key: event.user_id}
    routes:
      - {when: event.amount > 1000000, to: [large]}
      - {to: [lake]}
destinations:
  lake: {type: delta, uri: "LAKE/{stream}"}
  large: {type: delta, uri: "LAKE/large_{stream}"}
"""
DECLARED = """{timestamp: 'TIMESTAMPTZ', source: 'VARCHAR',
    event: 'STRUCT(transaction VARCHAR, status VARCHAR, latency_ms BIGINT, amount DOUBLE, currency VARCHAR, card VARCHAR,
                   user_id VARCHAR, email VARCHAR)',
    metadata: 'STRUCT(env VARCHAR)'}"""
STATEMENT = f"""
COPY (SELECT timestamp, source, metadata, event.amount > 1000000 AS large,
      struct_pack(transaction := event.transaction, status := event.status, latency_ms := event.latency_ms,
      amount := event.amount, currency := event.currency, user_id := event.user_id,
      card := repeat('*', length(event.card) - 4) || right(event.card, 4), email := sha256(event.email)) AS event
      FROM read_json('FILE', format = 'newline_delimited', columns = {DECLARED})
      WHERE event.status IS DISTINCT FROM 'refunded'
      AND CAST('0x' || left(sha256(event.user_id), 13) AS BIGINT) < {2**51})
TO 'OUT' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)
"""
ENGINE = "import os, sys, duckdb; duckdb.connect(config={'threads': 1}).execute(sys.argv[1]); os._exit(0)"


class Events(msgspec.Struct, frozen=True):
    """Requests in a log of their own, and the same lines in one file."""

    home: Path
    count: int
    size: int

    @property
    def log(self) -> Path:
        """The directory of the log."""
        return self.home / "log"

    @property
    def file(self) -> Path:
        """The NDJSON file."""
        return self.home / "events.ndjson"


def payments(count: int) -> Iterator[dict[str, Any]]:
    """Events of some 260 bytes, of 5,000 users."""
    pick = random.Random(1)
    for number in range(count):
        yield {
            "timestamp": f"2025-02-12T09:{number // 60_000 % 60:02d}:{number // 1000 % 60:02d}.{number % 1000:03d}Z",
            "source": "payments",
            "event": {
                "transaction": f"txn_{number:07d}",
                "status": pick.choices(("approved", "declined", "refunded"), (88, 9, 3))[0],
                "latency_ms": int(pick.lognormvariate(5, 0.5)),
                "amount": round(pick.lognormvariate(3.6, 1.1), 2),
                "currency": pick.choice(("USD", "EUR", "GBP")),
                "card": f"{pick.randrange(4 * 10**15, 5 * 10**15)}",
                "user_id": f"u{pick.randrange(5000)}",
                "email": f"u{pick.randrange(5000)}@example.com",
            },
            "metadata": {"env": "prod"},
        }


def logged(events: Iterator[dict[str, Any]], home: Path, request: int, streams: tuple[str, ...] = (STREAM,)) -> Events:
    """The events appended to an embedded log, `request` of them a record, the streams in turns."""
    log = open_log(EmbeddedLogSettings(path=home / "log", partitions=1))
    count = size = requests = 0

    def append(lines: list[bytes]) -> None:
        nonlocal requests
        stream = streams[requests % len(streams)]
        log.append(Record(stream, new_request_id(), RECEIVED + requests, len(lines), b"\n".join(lines)))
        requests += 1

    waiting: list[bytes] = []
    with (home / "events.ndjson").open("wb") as file:
        for event in events:
            line = orjson.dumps(event)
            count, size = count + 1, size + len(line) + 1
            file.write(line + b"\n")
            waiting.append(line)
            if len(waiting) == request:
                append(waiting)
                waiting = []
    if waiting:
        append(waiting)
    log.close()
    return Events(home, count, size)


def drained(events: Events, config: str) -> Run:
    """`headrace run --drain` of all of them into a lake that is not there yet."""
    lake = events.home / "lake"

    def run() -> None:
        data = Path(tempfile.mkdtemp(dir=events.home))
        shutil.rmtree(lake, ignore_errors=True)
        log = open_log(EmbeddedLogSettings(path=events.log, partitions=1))
        log.forget_group(NAME)  # type: ignore[attr-defined]  # of the embedded log: to read all of it again
        log.close()
        file = data / "headrace.yaml"
        text = config.replace("LOG", str(events.log)).replace("DATA", str(data / "data")).replace("LAKE", str(lake))
        file.write_text(text)
        subprocess.run([BIN / "headrace", "run", "--drain", "-c", file], check=True, stdout=subprocess.DEVNULL)

    return run


def stated(events: Events, statement: str) -> Run:
    """The statement over their file."""
    text = statement.replace("FILE", str(events.file)).replace("OUT", str(events.home / "out.parquet"))
    return lambda: subprocess.run([sys.executable, "-c", ENGINE, text], check=True)


def cases(rows: int) -> Iterator[Case]:
    """The stateless pipeline on 50 times as many events as `rows`: in requests of 500."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        yield _case("run --drain", home, payments(50 * rows), REQUEST)


def _case(name: str, home: Path, events: Iterator[dict[str, Any]], request: int) -> Case:
    for part in ("none", "all"):
        (home / part).mkdir()
    nothing, given = logged(iter(()), home / "none", request), logged(events, home / "all", request)
    return Case(
        "dataflow",
        name,
        given.count,
        drained(given, CONFIG),
        drained(nothing, CONFIG),
        stated(given, STATEMENT),
        "one statement, NDJSON to Parquet",
        TARGET,
        stated(nothing, STATEMENT),
    )


def main() -> None:
    """Prints the cases of this module alone."""
    parser = argparse.ArgumentParser(prog="python -m bench.dataflow")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(table([measure(case, arguments.rounds) for case in cases(arguments.events // 50)]))


if __name__ == "__main__":
    main()
