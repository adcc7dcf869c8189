"""Rows posted to an HTTP server as JSON."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import NamedTuple

import pyarrow as pa

from connectors.errors import Transient
from connectors.sinks.connection import Refusal, Unfinished
from connectors.sinks.documents import EVENT_ID, Documents
from connectors.sinks.http.settings import HttpDestination
from connectors.sinks.http.templates import Templates
from connectors.sinks.http.texts import field_phrase
from connectors.sinks.web import Answer, WebClient

_SPOILT = frozenset({400, 413, 422})
"""Statuses that one event of many may have caused."""


class HttpEndpoint:
    """A server (implements `Endpoint`). `clock` gives seconds since 1970, for signatures."""

    def __init__(self, settings: HttpDestination, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self.max_rows = 1 if settings.one_each else settings.batch_rows
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
        if isinstance(settings.body, str):
            kind = "text/plain; charset=utf-8"
        own = {name: str.__str__(value) for name, value in settings.headers.items() if field_phrase(value) is None}
        if settings.authorization is not None:
            own["Authorization"] = settings.authorization
        self._client = WebClient(settings.url, settings, {"User-Agent": "headrace"} | own | {"Content-Type": kind})
        self._documents = Documents()
        self._templates = Templates(settings.url, settings.headers, settings.body)

    def send(self, stream: str, rows: pa.Table) -> Sequence[Refusal]:
        """See `Connection.send`. Raises Unfinished where only some requests were answered."""
        messages = self._messages(stream, rows)
        refusals: list[Refusal] = []
        parts = _runs(messages)[::-1]
        while parts:
            start, stop = parts.pop()
            try:
                answer = self._post(messages[start:stop])
            except Transient as exc:
                if start == 0 and not refusals:
                    raise
                left = sorted([*range(start, stop), *(row for part in parts for row in range(*part))])
                raise Unfinished(exc.what, left=left, refusals=refusals, retry_after=exc.retry_after) from exc
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
        self._templates.close()

    def _messages(self, stream: str, rows: pa.Table) -> list[_Message]:
        made = self._documents.of(stream, rows)
        documents: list[str] = made.column("document").to_pylist()
        ids: list[str] = made.column(EVENT_ID).to_pylist()
        if self._templates.are_constant:
            where = _Where(self._templates.url(stream), ())
            return [_Message(where, document, of) for document, of in zip(documents, ids, strict=True)]
        templated = self._templates.of(stream, rows)
        columns = {name: templated.column(name).to_pylist() for name in templated.column_names}
        urls, bodies = columns.pop("url"), columns.pop("document")
        headers = [
            tuple((name, value) for name, value in zip(columns, values, strict=True) if value is not None)
            for values in (zip(*columns.values(), strict=True) if columns else [()] * rows.num_rows)
        ]
        texts = documents if self._settings.body is None else bodies
        return [
            _Message(_Where(url, header), text, of)
            for url, header, text, of in zip(urls, headers, texts, ids, strict=True)
        ]

    def _post(self, messages: Sequence[_Message]) -> Answer:
        settings = self._settings
        documents = [message.document for message in messages]
        headers = dict(messages[0].where.headers)
        if settings.one_each:
            text = documents[0]
            headers["Idempotency-Key"] = messages[0].event_id
        else:
            text = "\n".join([*documents, ""]) if settings.format == "ndjson" else f"[{','.join(documents)}]"
        body = text.encode()
        if settings.sign_key is not None:
            key = str.__str__(settings.sign_key)
            seconds = int(self._clock()) if settings.sign == "timestamp" else None
            headers[settings.sign_header] = signature(key, seconds, body)
        return self._client.post(
            messages[0].where.url, body, headers, compress=settings.compress, method=settings.method
        )


class _Where(NamedTuple):
    url: str
    headers: tuple[tuple[str, str], ...]


class _Message(NamedTuple):
    where: _Where
    document: str
    event_id: str


def _runs(messages: Sequence[_Message]) -> list[tuple[int, int]]:
    """(start, stop) of the messages that can share a request: those that follow each other and go to one place."""
    starts = [at for at, message in enumerate(messages) if not at or message.where != messages[at - 1].where]
    return list(zip(starts, [*starts[1:], len(messages)], strict=True))


def signature(key: str, seconds: int | None, body: bytes) -> str:
    """The header by which a receiver that has the key knows that we sent `body`, and when (as Stripe's webhooks do).

    Without a time it is the body's alone, as GitHub's webhooks have it.
    """
    if seconds is None:
        return "sha256=" + hmac.new(key.encode(), body, sha256).hexdigest()
    digest = hmac.new(key.encode(), b"%d." % seconds + body, sha256).hexdigest()
    return f"t={seconds},v1={digest}"
