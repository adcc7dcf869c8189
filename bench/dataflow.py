"""The whole dataflow, `headrace run --drain` into Delta, beside one statement of bare DuckDB.

Both are processes of their own and all their CPU time counts, but for what each takes with few events (imports, the plan).
headrace reads the embedded log, and then a Kafka topic, of requests of 500 events; the statement the same events from one
NDJSON file, and it writes one Parquet file, zstd too, on one thread.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.payments import lines
from bench.peers import REQUEST, config, cpu_seconds, drain, fill
from bench.rows import Row, Scale, compared, difference, told
from connectors.log.settings import EmbeddedLogSettings, KafkaLogSettings, LogSettings
from tests.services.kafka import KafkaBroker

DECLARED = """{timestamp: 'TIMESTAMPTZ', source: 'VARCHAR',
    event: 'STRUCT(transaction_id VARCHAR, status VARCHAR, latency_ms BIGINT, amount DOUBLE, currency VARCHAR, card VARCHAR,
                   user_id VARCHAR, email VARCHAR)',
    metadata: 'STRUCT(env VARCHAR)'}"""
STATEMENT = f"""
COPY (SELECT timestamp, source, metadata, event.amount > 1000000 AS large,
      struct_pack(transaction_id := event.transaction_id, status := event.status, latency_ms := event.latency_ms,
      amount := event.amount, currency := event.currency, user_id := event.user_id,
      card := repeat('*', length(event.card) - 4) || right(event.card, 4), email := sha256(event.email)) AS event
      FROM read_json('FILE', format = 'newline_delimited', columns = {DECLARED})
      WHERE event.status IS DISTINCT FROM 'refunded'
      AND CAST('0x' || left(sha256(event.user_id), 13) AS BIGINT) < {2**51})
TO 'OUT' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)
"""
ENGINE = "import os, sys, duckdb; duckdb.connect(config={'threads': 1}).execute(sys.argv[1]); os._exit(0)"


def rows(scale: Scale) -> Iterator[Row]:
    """The stateless pipeline of `bench.peers` on twice `scale.events` events, from each log."""
    count = 2 * scale.events
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)

        def embedded() -> Iterator[Row]:
            yield _beside(
                scale,
                "from the embedded log",
                home / "embedded",
                count,
                lambda at: EmbeddedLogSettings(path=at / "log", partitions=1),
            )

        def kafka() -> Iterator[Row]:
            broker = KafkaBroker(home / "broker")
            broker.start()
            try:
                yield _beside(
                    scale,
                    "from Kafka",
                    home / "kafka",
                    count,
                    lambda at: KafkaLogSettings(
                        bootstrap_servers=broker.bootstrap,
                        topic=f"payments-{at.name}",
                        partitions=1,
                        ack_timeout=60,  # type: ignore[arg-type]
                    ),
                )
            finally:
                broker.stop()

        yield from told(scale, "dataflow", "from the embedded log", embedded)
        yield from told(scale, "dataflow", "from Kafka", kafka)


def _beside(scale: Scale, what: str, home: Path, count: int, log_at: Callable[[Path], LogSettings]) -> Row:
    pairs = []
    for number in range(max(1, min(3, scale.rounds))):
        used = {"ours": list[float](), "theirs": list[float]()}
        for events in (REQUEST, count):
            at = home / f"{number}-{events}"
            at.mkdir(parents=True)
            log = log_at(at)
            fill(log, events)
            used["ours"].append(drain(config(at, log)))
            used["theirs"].append(stated(at, events))
        speeds = [(count - REQUEST) / difference(many, few) for few, many in used.values()]
        pairs.append((speeds[0], speeds[1]))
    note = f"reference: one statement, NDJSON to Parquet; {count:,} events in requests of {REQUEST}"
    return compared("dataflow", what, pairs, at_least=0.7, note=note)


def stated(home: Path, count: int) -> float:
    """The CPU seconds of the statement over the first `count` events; its rows are in `out.parquet`."""
    file = home / "events.ndjson"
    with file.open("wb") as written:
        written.writelines(line + b"\n" for line in lines(count))
    text = STATEMENT.replace("FILE", str(file)).replace("OUT", str(home / "out.parquet"))
    used = cpu_seconds([sys.executable, "-c", ENGINE, text])
    file.unlink()
    return used
