"""A real HTTP server of the tests, to post events to: it keeps what it is sent and answers as it is told."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec


class Request(msgspec.Struct, frozen=True):
    """One request as it came; `body` decompressed."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Request], "int | tuple[int, dict[str, str], bytes]"]


class WebServer:
    """Serves from threads of its own. `answer` gives a status, or one with headers and a body; `requests` all that came."""

    def __init__(self, answer: Answer = lambda _request: 200, port: int = 0) -> None:
        self.requests: list[Request] = []
        self.answer = answer
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server._serve(self)

            def do_PUT(self) -> None:
                server._serve(self)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        if handler.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(handler.command, handler.path, headers, body)
        answer = self.answer(request)
        self.requests.append(request)
        status, more, text = answer if isinstance(answer, tuple) else (answer, {}, b"")
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **more}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(text)
