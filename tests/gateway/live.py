"""A gateway as a user has it: a child process with its workers, spoken to over real sockets."""

from __future__ import annotations

import json
import os
import pickle
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from connectors.log import open_log
from connectors.log.settings import EmbeddedLogSettings
from connectors.record import Record
from gateway.settings import Limits, Settings, StreamSettings
from gateway.tokens import TokenStore, tokens_path

STREAM = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"
OTHER = "b0c3b4de-1923-4ff1-8dba-f92ad912d20f"
LIMITED = "c0c3b4de-1923-4ff1-8dba-f92ad912d20f"
METERED = "d0c3b4de-1923-4ff1-8dba-f92ad912d20f"
EVENT = {"source": "test", "event": {"n": 1}}

_CHILD = """
import pickle, sys
from gateway.serve import serve
settings = pickle.loads(bytes.fromhex(sys.argv[1]))
serve(settings, port=0, workers=int(sys.argv[2]), on_ready=lambda url: print("ready", url, flush=True))
"""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def settings_in(data: Path, **changes: Any) -> Settings:
    streams = (
        StreamSettings(name="payments", id=STREAM),
        StreamSettings(name="other", id=OTHER.upper()),
        StreamSettings(name="limited", id=LIMITED, limits=Limits(requests_per_second=50)),
        StreamSettings(name="metered", id=METERED, limits=Limits(bytes_per_second=20_000)),
    )
    log = EmbeddedLogSettings(path=data / "log", partitions=2)
    return msgspec.structs.replace(Settings(data=data, streams=streams, log=log), **changes)


class Gateway:
    """A running gateway with a token for every stream."""

    def __init__(self, settings: Settings, *, workers: int = 1) -> None:
        self.settings = settings
        self.tokens = TokenStore(tokens_path(settings.data))
        _, self.token = self.tokens.create(None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, pickle.dumps(settings).hex(), str(workers)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(30), "the gateway was not ready within 30 s"
        line = self.process.stdout.readline().split()
        assert line[:1] == ["ready"], line
        self.url = line[1]
        self.port = int(self.url.rpartition(":")[2])

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def headers(self, **changes: str | None) -> dict[str, str]:
        """The headers of a good request; `X_Stream_Id=None` leaves one out, a text replaces or adds it."""
        headers: dict[str, str | None] = {
            "Authorization": f"Bearer {self.token}",
            "X-Stream-Id": STREAM,
            "Content-Type": "application/json",
        }
        headers |= {name.replace("_", "-"): value for name, value in changes.items()}
        return {name: value for name, value in headers.items() if value is not None}

    def post(self, body: object, **headers: str | None) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", "/v1/streams/ingest", data, self.headers(**headers))

    def raw(self, data: bytes = b"", **headers: str | None) -> socket.socket:
        """A connection on which the head of a good request and `data` were sent."""
        lines = [f"{name}: {value}" for name, value in self.headers(**headers).items()]
        head = "\r\n".join(["POST /v1/streams/ingest HTTP/1.1", "Host: x", *lines, "", ""]).encode()
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(head + data)
        return connection

    def records(self) -> list[Record]:
        """Everything in the log, in no particular order between partitions."""
        return records_of(self.settings)

    def record(self, request_id: str) -> Record:
        return next(record for record in self.records() if record.request_id == request_id)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        finally:
            self.tokens.close()
            assert self.process.stdout is not None
            self.process.stdout.close()


def records_of(settings: Settings) -> list[Record]:
    log = open_log(settings.log)
    partitions: Sequence[int] = range(log.partitions)
    reader = log.reader(partitions, {}, group="test")
    found: list[Record] = []
    for partition in partitions:
        while (block := reader.read(partition, max_bytes=10_000_000)) is not None and block.records:
            found += block.records
    reader.close()
    log.close()
    return found


def answer_on(connection: socket.socket) -> Answer:
    """Reads one answer with a Content-Length; status 0 if the connection was closed without one."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65_536)
        if not piece:
            return Answer(0, {}, data)
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65_536)
    return Answer(int(lines[0].split()[1]), headers, body)


def wait_until(condition: Any, seconds: float = 10, what: str = "the condition") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        time.sleep(0.02)
