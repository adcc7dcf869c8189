"""The gateway beside what it is held to: requests (or events) a second of the server's CPU time, in turns.

The client shares the machine, so throughput says as much of the client as of the server: what is compared is what the
server's processes used of a core for each request. Every server has one worker under the same Granian.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec

from bench.load import Request, load
from bench.payments import lines
from bench.rows import Row, Scale, compared, told
from bench.servers import STREAM, Server
from connectors.log.settings import EmbeddedLogSettings, KafkaLogSettings, LogSettings
from gateway.events import Event
from gateway.settings import Settings, StreamSettings
from gateway.tokens import TokenStore, tokens_path
from tests.services.kafka import KafkaBroker

PATH = "/v1/streams/ingest"
BATCH = 500
_numbers = itertools.count()


def rows(scale: Scale) -> Iterator[Row]:
    """Each of the gateway's targets."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        for what, measured in (
            ("one event a request, the log stubbed", lambda: _stubbed(home, scale)),
            ("one event a request, embedded log", lambda: _logged(home, scale, None)),
            ("one event a request, Kafka acknowledged", lambda: _kafka(home, scale)),
            (f"NDJSON of {BATCH} events", lambda: _ndjson(home, scale)),
        ):
            yield from told(scale, "gateway", what, measured)


def _stubbed(home: Path, scale: Scale) -> Iterator[Row]:
    note = "reference: a WSGI callable that only reads the body"
    yield _pair(home, scale, "one event a request, the log stubbed", ("stubbed", "bare"), None, 0.6, note)


def _logged(home: Path, scale: Scale, log: LogSettings | None) -> Iterator[Row]:
    where = "embedded log" if log is None else "Kafka acknowledged"
    note = "reference: the same checks and append in a plain Flask view"
    yield _pair(home, scale, f"one event a request, {where}", ("headrace", "flask"), log, 3, note)


def _kafka(home: Path, scale: Scale) -> Iterator[Row]:
    broker = KafkaBroker(home / "kafka")
    broker.start()
    try:
        yield from _logged(home, scale, KafkaLogSettings(bootstrap_servers=broker.bootstrap, partitions=4))
    finally:
        broker.stop()


def _ndjson(home: Path, scale: Scale) -> Iterator[Row]:
    body = b"\n".join(itertools.islice(lines(BATCH), BATCH))
    decode = msgspec.json.Decoder(Event).decode_lines
    note = "reference: the same bytes through a typed msgspec decoder, and nothing else"
    for kind, what in (("stubbed", "the log stubbed"), ("headrace", "embedded log")):
        settings, request = _settings(home, None), _request(body, "application/x-ndjson")
        with Server(kind, settings) as server:
            request = _with_token(request, settings)
            load(server.url, request, 1, 4)
            pairs = []
            for _ in range(scale.rounds):
                ours, _ = _speed(server, request, scale.seconds, 4)
                began, times = time.process_time(), 0
                while time.process_time() - began < min(1.0, scale.seconds):
                    decode(body)
                    times += 1
                pairs.append((ours * BATCH, times * BATCH / (time.process_time() - began)))
        yield compared("gateway", f"NDJSON of {BATCH} events, {what}", pairs, at_least=0.6, note=note)


def _pair(
    home: Path, scale: Scale, what: str, kinds: tuple[str, str], log: LogSettings | None, target: float, note: str
) -> Row:
    body = next(lines(1))
    with ExitStack() as held:
        servers = []
        for kind in kinds:
            settings = _settings(home, log)
            servers.append((held.enter_context(Server(kind, settings)), _with_token(_request(body), settings)))
        for server, request in servers:
            load(server.url, request, 1)
        pairs, per_second = [], []
        for number in range(scale.rounds):
            found = {}
            for place in (0, 1) if number % 2 else (1, 0):
                found[place] = _speed(*servers[place], scale.seconds, 32)
            pairs.append((found[0][0], found[1][0]))
            per_second.append((found[0][1], found[1][1]))
    ours, other = sorted(per_second)[len(per_second) // 2]
    note += f"; answered a second, beside the client: {ours:,.0f} and {other:,.0f}"
    return compared("gateway", what, pairs, at_least=target, unit="requests/s of a core", note=note)


def _speed(server: Server, request: Request, seconds: float, connections: int) -> tuple[float, float]:
    """Requests a second of the server's CPU time, and of the clock's."""
    before = server.cpu_seconds()
    served = load(server.url, request, seconds, connections)
    used = server.cpu_seconds() - before
    if served.bad or not served.requests:
        raise RuntimeError(f"{served.bad} of {served.requests} requests were refused")
    return served.requests / max(used, 0.01), served.requests / served.seconds


def _settings(home: Path, log: LogSettings | None) -> Settings:
    data = home / f"server-{next(_numbers)}"
    streams = (StreamSettings(name="payments", id=STREAM),)
    return Settings(data=data, streams=streams, log=log or EmbeddedLogSettings(path=data / "log"))


def _request(body: bytes, kind: str = "application/json") -> Request:
    return Request(PATH, {"Content-Type": kind, "X-Stream-Id": STREAM}, body)


def _with_token(request: Request, settings: Settings) -> Request:
    store = TokenStore(tokens_path(settings.data))
    _, text = store.create(None)
    store.close()
    return msgspec.structs.replace(request, headers={**request.headers, "Authorization": f"Bearer {text}"})
