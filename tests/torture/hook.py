"""The HTTP destination: it keeps what it has answered with 200, and can be slow, broken, or full of itself."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from random import Random
from typing import Any

from tests.services.web import Request, WebServer

Answer = int | tuple[int, dict[str, str], bytes]


class Hook:
    """`taken` has (stream, event) in the order they came."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.mode = "well"
        self._lock = threading.Lock()
        self._dice = Random(0)
        self._server = WebServer(self._answer)
        self._server._server.handle_error = lambda *_: None  # type: ignore[method-assign] # `hang up` is meant
        self._server.requests = deque(maxlen=1)  # type: ignore[assignment] # what came is kept here

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def port(self) -> int:
        return self._server.port

    def _answer(self, request: Request) -> Answer:
        mode = self.mode
        with self._lock:
            spared = self._dice.random() < 0.2
        if mode == "500" and not spared:
            return 500
        if mode == "429" and not spared:
            return 429, {"Retry-After": "1"}, b""
        stream = request.path.strip("/")
        with self._lock:
            self.taken += [(stream, event) for event in json.loads(request.body)]
        if mode == "slow":
            time.sleep(2)
        if mode == "hang up":
            raise ConnectionAbortedError  # what was asked is done, and no answer comes
        if mode == "garbage":
            return 200, {"Content-Length": "999999"}, b"\x00\xff<not what was promised>"
        return 200
