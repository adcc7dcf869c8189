"""How long an event is on its way, at half of the load that the whole takes at most.

Each event carries the instant at which its request was begun. In a table it can be queried from when the commit that
names its file is there (that file's time); an HTTP server and a broker note when they got it.
"""

from __future__ import annotations

import http.client
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
import pyarrow.parquet as pq
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from bench.rows import Row, Scale, alone, told
from bench.running import running, token, until
from bench.servers import STREAM
from tests.services.kafka import KafkaBroker
from tests.services.opensearch import OpenSearch
from tests.services.web import WebServer

REQUEST = 100
INTERVAL = 1.0  # seconds: `commit_interval`
SENDERS = 4
SENT: list[float] = []
"""When each event of the run that is under way was sent."""

CONFIG = """
log: {{embedded: {{path: {home}/log}}}}
data: {home}
streams:
  payments:
    id: {stream}
    routes: [{{to: [out]}}]
destinations:
  out: {to}
"""

Ways = list[tuple[float, float]]
"""When each event was sent, and how long it took, in seconds."""


def rows(scale: Scale) -> Iterator[Row]:
    """To a Delta table, an HTTP server, Kafka and OpenSearch."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        for what, measured in (
            ("queryable in Delta", lambda: _delta(home / "delta", scale)),
            ("HTTP destination", lambda: _http(home / "http", scale)),
            ("Kafka destination", lambda: _kafka(home / "kafka", scale)),
            ("OpenSearch destination", lambda: _opensearch(home / "opensearch", scale)),
        ):
            yield from told(scale, "latency", f"ingest → {what}", measured)


def _delta(home: Path, scale: Scale) -> Iterator[Row]:
    table = home / "lake" / "payments"
    to = f'{{type: delta, uri: "{home}/lake/{{stream}}", commit_interval: {INTERVAL:g}s}}'

    def landed() -> Ways:
        found = []
        for commit in (table / "_delta_log").glob("*.json"):
            at = commit.stat().st_mtime
            for line in commit.read_text().splitlines():
                if "add" in (action := json.loads(line)):
                    file = table / unquote(action["add"]["path"])
                    found += [
                        (sent, at - sent)
                        for sent in pq.read_table(file)["event"].combine_chunks().field("sent").to_pylist()
                    ]
        return found

    found, speed = _measured(home, to, landed, scale)
    note = f"p50 {_part(found, 0.5):.2f} s, at {speed:,.0f} events/s: half of the peak; an interval is {INTERVAL:g} s"
    p99 = _part(found, 0.99) / INTERVAL
    yield alone("latency", "ingest → queryable in Delta, p99", p99, unit="commit intervals", at_most=2, note=note)


def _http(home: Path, scale: Scale) -> Iterator[Row]:
    found: Ways = []

    def answer(request: object) -> int:
        at = time.time()
        sent = [event["event"]["sent"] for event in json.loads(request.body)]  # type: ignore[attr-defined]
        found.extend((each, at - each) for each in sent)
        return 200

    server = WebServer(answer)
    try:
        yield from _sent_on(home, f'{{type: http, url: "{server.url}/in"}}', lambda: list(found), scale, "HTTP")
    finally:
        server.stop()


def _kafka(home: Path, scale: Scale) -> Iterator[Row]:
    broker = KafkaBroker(home / "broker")
    broker.start()
    try:
        admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
        configs = {"message.timestamp.type": "LogAppendTime"}
        admin.create_topics([NewTopic("out-payments", 4, 1, topic_configs=configs)])
        admin.close()
        found: Ways = []
        consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, enable_auto_commit=False)
        parts = [TopicPartition("out-payments", number) for number in range(4)]
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)

        def landed() -> Ways:
            while some := consumer.poll(timeout_ms=300):
                for records in some.values():
                    for one in records:
                        sent = json.loads(one.value)["event"]["sent"]
                        found.append((sent, one.timestamp / 1000 - sent))
            return list(found)

        to = f'{{type: kafka, bootstrap_servers: "{broker.bootstrap}", topic: "out-{{stream}}"}}'
        yield from _sent_on(home, to, landed, scale, "Kafka")
        consumer.close()
    finally:
        broker.stop()


def _opensearch(home: Path, scale: Scale) -> Iterator[Row]:
    """OpenSearch does not say when it got a document: it is asked how many there are, again and again."""
    node = OpenSearch(home / "node")
    node.start(seconds=120)
    counts: list[tuple[float, int]] = []
    done = threading.Event()

    def count() -> int:
        found = node.call("GET", "_cat/count/logs-payments?format=json&h=count")
        return int(found[0]["count"]) if isinstance(found, list) else 0

    def watch() -> None:
        while not done.wait(0.05):
            counts.append((time.time(), count()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        node.call("PUT", "logs-payments", {"settings": {"number_of_replicas": 0, "refresh_interval": "100ms"}})

        def landed() -> Ways:
            """Events are indexed about in the order they were sent: the n-th sent is there when n are counted."""
            sent, found, place = sorted(SENT), [], 0
            for at, number in counts:
                while place < min(number, len(sent)):
                    found.append((sent[place], at - sent[place]))
                    place += 1
            return found

        to = f'{{type: elasticsearch, url: "{node.url}", index: "logs-{{stream}}"}}'
        yield from _sent_on(home, to, landed, scale, "OpenSearch")
    finally:
        done.set()
        watcher.join()
        node.stop()


def _sent_on(home: Path, to: str, landed: Callable[[], Ways], scale: Scale, name: str) -> Iterator[Row]:
    found, speed = _measured(home, to, landed, scale)
    note = f"p50 {_part(found, 0.5):.2f} s, at {speed:,.0f} events/s: half of the peak"
    yield alone("latency", f"ingest → {name} destination, p99", _part(found, 0.99), unit="s", at_most=1, note=note)


def _measured(home: Path, to: str, landed: Callable[[], Ways], scale: Scale) -> tuple[list[float], float]:
    """How long each took at half of the peak, which is what all of it takes to the end, with the client beside; and
    how many events a second that was."""
    home.mkdir(parents=True, exist_ok=True)
    file = home / "headrace.yaml"
    file.write_text(CONFIG.format(home=home, stream=STREAM, to=to))
    secret = token(file)
    SENT.clear()
    with running(file, "up", "--port", "0", "--workers", "1") as up:
        _send(up.url, secret, 1, rate=10 * REQUEST)  # so that tables, connections and plans are there
        warm = len(SENT)
        until(lambda: len(landed()) >= warm, 120, "what was sent first")
        began = time.monotonic()
        _send(up.url, secret, scale.seconds, rate=None)
        peak = len(SENT)
        until(lambda: len(landed()) >= peak, 240, "what was sent at full load")
        most = (peak - warm) / (time.monotonic() - began)
        began = time.time()
        _send(up.url, secret, 3 * scale.seconds, rate=most / 2)
        until(lambda: len(landed()) >= len(SENT), 120, "what was sent at half of the load")
        return [took for sent, took in landed() if sent >= began], most / 2


def _send(url: str, secret: str, seconds: float, rate: float | None) -> None:
    """Requests of REQUEST events from some threads, each when its time has come, or as soon as the last is answered."""
    where = urlsplit(url).netloc
    headers = {"Authorization": f"Bearer {secret}", "X-Stream-Id": STREAM, "Content-Type": "application/x-ndjson"}
    gap = None if rate is None else SENDERS * REQUEST / rate
    end, sent, encode = time.monotonic() + seconds, [], msgspec.json.encode

    def send(number: int) -> None:
        connection = http.client.HTTPConnection(where, timeout=60)
        due = time.monotonic() + (gap or 0) * number / SENDERS
        while (now := time.monotonic()) < end:
            if gap is not None:
                time.sleep(max(0.0, due - now))
                due += gap
            at = time.time()
            event = encode({"source": "bench", "event": {"sent": at, "card": "4442877722904517", "note": "x" * 150}})
            connection.request("POST", "/v1/streams/ingest", b"\n".join([event] * REQUEST), headers)
            answer = connection.getresponse()
            if answer.read() and answer.status == 200:
                sent.extend([at] * REQUEST)
        connection.close()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    SENT.extend(sent)


def _part(found: list[float], share: float) -> float:
    ordered = sorted(found)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
