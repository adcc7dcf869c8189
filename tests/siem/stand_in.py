"""A stand-in for Splunk, for what no receiver that can be had here shows (`tests/services/otel`, `tests/services/tenzir`):
events that are taken and for a while not indexed, Splunk's own reasons to refuse, a load balancer's cookie.

It keeps what Splunk documents of the protocol and nothing more: a channel is asked for, numbers count up within a channel, a
number is acknowledged once what came under it is indexed (while `indexing`), and forgotten once that was said.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "token-1"

Answer = tuple[int, dict[str, Any], dict[str, str]]


class StandIn:
    """The state. `answers` come first, one a request for events; `indexing` says whether events are indexed at once."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[Answer] = []
        self.refuses: Any = lambda _event: None  # an event -> the code with which it is refused
        self.indexing = True
        self.indexed: list[dict[str, Any]] = []
        self.requests: list[dict[str, str]] = []
        self._waiting: dict[tuple[str, int], list[dict[str, Any]]] = {}
        self._numbers: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, headers: dict[str, str], body: bytes) -> Answer:
        with self._lock:
            self.requests.append(headers)
            if self.answers:
                return self.answers.pop(0)
            if headers.get("authorization") != f"Splunk {TOKEN}":
                return 403, {"text": "Invalid token", "code": 4}, {}
            channel = headers.get("x-splunk-request-channel")
            if not channel:
                return 400, {"text": "Data channel is missing", "code": 10}, {}
            events = [json.loads(line) for line in body.splitlines()]
            for place, event in enumerate(events):
                if code := self.refuses(event):
                    self.indexed += events[:place]
                    return 400, {"text": "refused", "code": code, "invalid-event-number": place}, {}
            number = self._numbers.get(channel, 0)
            self._numbers[channel] = number + 1
            self._waiting[channel, number] = events
            return 200, {"text": "Success", "code": 0, "ackId": number}, {"Set-Cookie": "sticky=one; Path=/"}

    def acknowledge(self, channel: str, numbers: list[int]) -> Answer:
        with self._lock:
            acks = {}
            for number in numbers:
                events = self._waiting.pop((channel, number), None) if self.indexing else None
                self.indexed += events or []
                acks[str(number)] = events is not None
            return 200, {"acks": acks}, {}


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """A running one."""
    state = StandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            url = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            if url.path == "/services/collector/ack":
                [channel] = parse_qs(url.query)["channel"]
                status, answer, more = state.acknowledge(channel, json.loads(body)["acks"])
            else:
                status, answer, more = state.take(headers, body)
            text = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**more, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
