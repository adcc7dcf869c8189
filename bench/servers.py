"""Servers to compare, each a child process under the same Granian with the same settings: ours, and what it is held to.

python -m bench.servers KIND SETTINGS      # prints `ready URL`; used by bench/gateway.py
"""

from __future__ import annotations

import os
import pickle
import selectors
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from connectors.log import LogSettings, Position
from connectors.record import Record, new_request_id, now_microseconds
from gateway import serve as serving
from gateway.settings import Settings

STREAM = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"


class StubbedLog:
    """A log that has everything at once, and keeps nothing."""

    def append(self, record: Record) -> Position:
        """Nothing is written."""
        del record
        return Position("stub", 0, 0)

    def check(self) -> None:
        """Always well."""

    def take(self, settings: LogSettings) -> None:
        """Goes by nothing."""

    def close(self) -> None:
        """Nothing is open."""


def stubbed(settings: Settings, *_: object) -> Any:
    """The gateway, its log stubbed."""
    from gateway.app import create_app

    return create_app(settings, StubbedLog())  # type: ignore[arg-type]


def bare(*_: object) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    """A WSGI callable that only reads the body."""
    answer = b'{"status":"accepted"}'
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("200 OK", headers)
        return [answer]

    return application


def flask_view(settings: Settings, *_: object) -> Any:
    """The gateway's checks as a view of Flask's, the way one is written: the same functions, Flask's request and answer."""
    from flask import Flask, Response, jsonify, request

    from gateway import metrics
    from gateway.answers import Refusal
    from gateway.appending import Appender
    from gateway.events import read_events
    from gateway.limits import Quotas
    from gateway.shapes import Shape
    from gateway.tokens import TokenStore, tokens_path

    app = Flask("view")
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    tokens, quotas = TokenStore(tokens_path(settings.data)), Quotas(settings.data / "quotas.bin")
    appender, shapes = Appender(settings.log), defaultdict(Shape)
    streams = {stream.id: stream for stream in settings.streams}

    @app.get("/readyz")
    def readyz() -> str:
        return "ready"

    @app.errorhandler(Refusal)
    def refused(refusal: Refusal) -> Response:
        return Response(refusal.body(), refusal.status, refusal.headers, content_type="application/json")

    @app.post("/v1/streams/ingest")
    def ingest() -> Response:
        received_at, request_id = now_microseconds(), new_request_id()
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        token = tokens.find(text) if scheme.lower() == "bearer" else None
        if token is None or token.revoked is not None or (token.expires is not None and token.expires <= received_at):
            raise Refusal("unauthorized", "This token is not known here.")
        stream = streams.get(request.headers.get("X-Stream-Id", "").lower())
        if stream is None:
            raise Refusal("unknown_stream", "There is no stream with this id.")
        if "ingest" not in token.permissions or not token.is_for(stream.id):
            raise Refusal("forbidden", "This token is not for this stream.")
        quotas.take_request(token.id, stream.id, stream.limits)
        if request.mimetype not in ("application/json", "application/x-ndjson"):
            raise Refusal("unsupported_media_type", "Send JSON or NDJSON.")
        body = request.get_data()
        events = read_events(body, ndjson=request.mimetype == "application/x-ndjson", shape=shapes[stream.id])
        quotas.take_bytes(token.id, stream.id, stream.limits, len(body))
        with metrics.APPEND_SECONDS.time():
            appender.append(Record(stream.id, request_id, received_at, events.count, events.lines))
        metrics.ACCEPTED.labels(stream.name).inc()
        metrics.EVENTS.labels(stream.name).inc(events.count)
        metrics.BYTES.labels(stream.name).inc(len(body))
        tokens.note_use(token, received_at)
        answer = jsonify(status="accepted", ingested_bytes=len(body), stream_id=stream.id)
        answer.headers["X-Request-Id"] = request_id
        return answer

    return app


KINDS = {"stubbed": stubbed, "bare": bare, "flask": flask_view}


class Server:
    """One of KINDS, or `headrace`, running with one worker process."""

    def __init__(self, kind: str, settings: Settings) -> None:
        command = [sys.executable, "-m", "bench.servers", kind, pickle.dumps(settings).hex()]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline().split() if selector.select(60) else []
        if line[:1] != ["ready"]:
            self.stop()
            raise RuntimeError(f"the server '{kind}' was not ready within 60 s")
        self.url = line[1]

    def cpu_seconds(self) -> float:
        """What its processes have used so far."""
        return session_seconds(self._process.pid)

    def stop(self) -> None:
        """Ends it, with all its processes."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def session_seconds(session: int) -> float:
    """The CPU time of all living processes of a session."""
    ticks = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            if int(fields[3]) == session:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    kind, settings = sys.argv[1], pickle.loads(bytes.fromhex(sys.argv[2]))
    if kind in KINDS:
        serving._application = KINDS[kind]  # type: ignore[assignment]
    serving.serve(settings, port=0, workers=1, on_ready=lambda url: print("ready", url, flush=True))


if __name__ == "__main__":
    main()
