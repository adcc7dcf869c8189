"""What stands between headrace and a collector in tests: it sees the requests, and may do something before it passes one on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import urllib3

from tests.services.web import Request, WebServer

ACK = "/services/collector/ack"
_PASSED_ON = ("authorization", "content-type", "x-splunk-request-channel")


class Exchange(msgspec.Struct, frozen=True):
    """A request of the client's, by its `channel`, and the collector's answer."""

    path: str
    channel: str
    asked: bytes
    answered: dict[str, Any]

    @property
    def about_acknowledgements(self) -> bool:
        return self.path == ACK


class Between:
    """Serves at `url`; `before` is called with each request, before it is passed on; `exchanges` are over."""

    def __init__(self, behind: str) -> None:
        self.before: Callable[[Request], None] = lambda _request: None
        self.exchanges: list[Exchange] = []
        self._behind = behind
        self._server = WebServer(self._pass_on)
        self.url = self._server.url

    def stop(self) -> None:
        self._server.stop()

    def _pass_on(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        self.before(request)
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        answer = urllib3.request("POST", self._behind + request.path, body=request.body, headers=headers, retries=False)
        url = urlsplit(request.path)
        asked_for = parse_qs(url.query).get("channel", [request.headers["x-splunk-request-channel"]])
        self.exchanges.append(Exchange(url.path, asked_for[0], request.body, json.loads(answer.data)))
        return answer.status, {"Content-Type": "application/json"}, answer.data


@contextmanager
def between(behind: str) -> Iterator[Between]:
    """A running one, in front of the collector at `behind`."""
    made = Between(behind)
    try:
        yield made
    finally:
        made.stop()
