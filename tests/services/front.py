"""What stands between Snowflake's connector and fakesnow in tests: it can be gone, slow, answer nonsense, lose answers.

It also does what Snowflake does of itself and fakesnow does not: where a client is gone, or has ended its session, the
transaction that it left open is undone.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import urllib3


class Asked(msgspec.Struct, frozen=True):
    """A request: its `path`, the statement in it (or ""), and its JSON."""

    path: str
    sql: str
    json: dict[str, Any]


Answer = tuple[int, bytes]
Forward = Callable[..., Answer]
"""Passes a request on; with a text, that statement in place of the one that was asked."""

Fault = Callable[[Asked, Forward], Answer | None]
"""Answers a request. None closes the connection without an answer."""


def passing(_asked: Asked, forward: Forward) -> Answer | None:
    """Passes every request on."""
    return forward()


def told(code: str, message: str) -> Answer:
    """Snowflake's answer for what went wrong."""
    data = {"data": {"errorCode": code}, "code": code, "message": message, "success": False}
    return 200, json.dumps(data).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Says nothing: the client, or the server behind, was killed."""


class Front:
    """Serves on a port of its own. `fault` answers; `asked` are the requests that came."""

    def __init__(self, behind: int) -> None:
        self.fault: Fault = passing
        self.asked: list[Asked] = []
        self._behind = f"http://127.0.0.1:{behind}"
        self._pool = urllib3.PoolManager(maxsize=32, retries=False)
        self._tokens: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._open: set[Any] = set()
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listens, on the port it had before if it had one."""
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                self.tokens: set[str] = set()
                front._open.add(self.connection)

            def do_POST(self) -> None:
                front._serve(self)

            def do_PUT(self) -> None:
                front._serve(self)

            def do_GET(self) -> None:
                front._serve(self)

            def finish(self) -> None:
                front._open.discard(self.connection)
                front._gone(self.tokens)
                super().finish()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = _Server(("127.0.0.1", self.port), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Nothing listens any more, and every connection is cut."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            for connection in list(self._open):
                try:
                    connection.shutdown(2)
                except OSError:
                    continue

    def statements(self) -> list[str]:
        """The first word of each statement that came."""
        return [asked.sql.split()[0] for asked in self.asked if asked.sql]

    def _serve(self, handler: Any) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in ("host", "connection")}
        token = handler.headers.get("Authorization", "")
        if token and token not in handler.tokens:
            handler.tokens.add(token)
            with self._lock:
                self._tokens[token] += 1
        asked = _read(handler.path, body, handler.headers)

        def forward(sql: str | None = None) -> Answer:
            sent, given = body, headers
            if sql is not None:
                sent = json.dumps(asked.json | {"sqlText": sql}).encode()
                given = {name: value for name, value in headers.items() if not name.lower().startswith("content-")}
            answer = self._pool.request(handler.command, self._behind + handler.path, body=sent, headers=given)
            data = answer.data.replace(self._behind.encode(), f"http://127.0.0.1:{self.port}".encode())
            if "login" in handler.path:  # without a master token, which fakesnow does not give, no session is ended
                data = data.replace(b'"token":', b'"masterToken":"of-the-front","token":', 1)
            return answer.status, data

        if handler.path.startswith("/session?"):
            self._undo(token)
        self.asked.append(asked)
        answer = self.fault(asked, forward)
        if answer is None:
            handler.close_connection = True
            return
        status, data = answer
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _gone(self, tokens: set[str]) -> None:
        for token in tokens:
            with self._lock:
                self._tokens[token] -= 1
                last = self._tokens[token] == 0
            if last:
                self._undo(token)

    def _undo(self, token: str) -> None:
        """Undoes what is open in a session."""
        headers = {"Authorization": token, "Content-Type": "application/json"}
        body = json.dumps({"sqlText": "ROLLBACK"}).encode()
        with suppress(urllib3.exceptions.HTTPError):
            self._pool.request("POST", f"{self._behind}/queries/v1/query-request", body=body, headers=headers)


def _read(path: str, body: bytes, headers: Any) -> Asked:
    if headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    try:
        found = json.loads(body)
    except ValueError:
        return Asked(path.split("?", maxsplit=1)[0], "", {})
    return Asked(path.split("?", maxsplit=1)[0], found.get("sqlText", ""), found)
