"""Rows posted to an HTTP server as JSON."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from urllib.parse import quote

import pyarrow as pa

from connectors.sinks.connection import Refusal
from connectors.sinks.documents import EVENT_ID, Documents
from connectors.sinks.http.settings import HttpDestination
from connectors.sinks.web import Answer, WebClient

_SPOILT = frozenset({400, 413, 422})
"""Statuses that one event of many may have caused."""


class HttpEndpoint:
    """A server (implements `Endpoint`). `clock` gives seconds since 1970, for signatures."""

    def __init__(self, settings: HttpDestination, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self.max_rows = 1 if settings.format == "event" else settings.batch_rows
        self.max_bytes = settings.batch_bytes

    def connect(self) -> HttpConnection:
        """See `Endpoint.connect`; the server is spoken to at the first `send`."""
        return HttpConnection(self._settings, self._clock)


class HttpConnection:
    """One kept-alive connection (implements `Connection`)."""

    def __init__(self, settings: HttpDestination, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        kind = "application/x-ndjson" if settings.format == "ndjson" else "application/json"
        own = {name: str.__str__(value) for name, value in settings.headers.items()}
        self._client = WebClient(settings.url, settings, {"User-Agent": "headrace"} | own | {"Content-Type": kind})
        self._documents = Documents()

    def send(self, stream: str, rows: pa.Table) -> Sequence[Refusal]:
        """See `Connection.send`."""
        made = self._documents.of(stream, rows)
        documents: list[str] = made.column("document").to_pylist()
        ids: list[str] = made.column(EVENT_ID).to_pylist()
        url = str.__str__(self._settings.url).replace("{stream}", quote(stream, safe=""))
        refusals: list[Refusal] = []
        parts = [(0, len(documents))]
        while parts:
            start, stop = parts.pop()
            answer = self._post(url, documents[start:stop], ids[start])
            if 200 <= answer.status < 300:
                continue
            if answer.status in _SPOILT and stop - start > 1:
                middle = (start + stop) // 2
                parts += [(middle, stop), (start, middle)]
            else:
                refusals += [Refusal(row, answer.told()) for row in range(start, stop)]
        return refusals

    def close(self) -> None:
        """See `Connection.close`."""
        self._client.close()
        self._documents.close()

    def _post(self, url: str, documents: list[str], first_id: str) -> Answer:
        settings = self._settings
        headers = {}
        if settings.format == "event":
            text = documents[0]
            headers["Idempotency-Key"] = first_id
        else:
            text = f"[{','.join(documents)}]" if settings.format == "array" else "\n".join([*documents, ""])
        body = text.encode()
        if settings.sign_key is not None:
            headers[settings.sign_header] = signature(str.__str__(settings.sign_key), int(self._clock()), body)
        return self._client.post(url, body, headers, compress=settings.compress, method=settings.method)


def signature(key: str, seconds: int, body: bytes) -> str:
    """The header by which a receiver that has the key knows that we sent `body`, and when (as Stripe's webhooks do)."""
    digest = hmac.new(key.encode(), b"%d." % seconds + body, sha256).hexdigest()
    return f"t={seconds},v1={digest}"
