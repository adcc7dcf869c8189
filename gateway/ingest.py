"""`POST /v1/streams/ingest`: one request, its checks in the order of the error table, one append to the log.

A WSGI callable of its own in front of Flask's routing: the same checks inside a Flask view cost five times as much.
Every answer for this path comes from here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from typing import Any

import msgspec

from connectors.errors import Unavailable
from connectors.logger import get_logger
from connectors.record import Record, keyed_request_id, new_request_id, now_microseconds
from gateway import metrics
from gateway.answers import REASON, Headers, Refusal
from gateway.appending import Appender
from gateway.body import ENCODINGS, declared_length, endpoints, inflate, read_body
from gateway.events import read_events
from gateway.limits import Quota, Quotas
from gateway.settings import Settings, StreamSettings
from gateway.shapes import Shape
from gateway.stalled import Readings
from gateway.tokens import Token, TokenStore

PATH = "/v1/streams/ingest"
JSON, NDJSON = "application/json", "application/x-ndjson"

_LINGER_BYTES, _LINGER_STEP = 67_108_864, 1_048_576
_LINGER_SECONDS = 2.0
_UUID_LENGTH = 36
_SHAPES = 1024  # streams whose events' shape is known, 16 kB each

Environ = dict[str, Any]
StartResponse = Callable[[str, Headers], Any]
_encode = msgspec.json.Encoder().encode
_logger = get_logger()


class Ingest:
    """The WSGI callable. Threads share it; made after a fork."""

    def __init__(self, settings: Settings, tokens: TokenStore, quotas: Quotas, appender: Appender) -> None:
        self._limit = settings.max_body_bytes
        self._version: str | None = None
        self._tokens = tokens
        self._quotas = quotas
        self._appender = appender
        self.take(settings)
        self._readings = Readings(settings.body_timeout, crowd=settings.threads // 2)
        self._accepted = cache(metrics.Accepted)
        self._shape = lru_cache(_SHAPES)(lambda _: Shape())

    def take(self, settings: Settings) -> None:
        """Goes by the streams and limits of `settings` from now on; what is under way goes by those it began with."""
        self._appender.take(settings.log)
        self._streams = {stream.id.lower(): stream for stream in settings.streams}
        if self._version is not None:
            metrics.CONFIG.labels(self._version).set(0)
        if settings.version:
            self._version = settings.version
            metrics.CONFIG.labels(self._version).set(1)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        request_id = new_request_id()
        try:
            answer, headers, request_id = self._ingest(environ, request_id)
            status, body = 200, _encode(answer)
        except Unavailable as exc:
            _logger.warning("not appended", reason=exc.what)
            refusal = Refusal(
                "unavailable", "The log did not take the events; send them again.", headers=[("Retry-After", "1")]
            )
            status, headers, body = _refused(refusal)
        except Refusal as refusal:
            status, headers, body = _refused(refusal)
            if refusal.error == "payload_too_large":
                return self._linger(environ, start_response, (status, headers, body, request_id))
        except Exception:  # the last resort: any request gets an answer of the table
            _logger.exception("a bug in the gateway")
            status, headers, body = _refused(Refusal("internal", "A bug in headrace: please report it."))
        _start(start_response, (status, headers, body, request_id))
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    def _ingest(self, environ: Environ, request_id: str) -> tuple[dict[str, object], Headers, str]:
        """The answer for an accepted request, its headers and its id; Refusal or Unavailable for any other."""
        if environ["REQUEST_METHOD"] != "POST":
            raise Refusal("method_not_allowed", f"Use POST for {PATH}.", headers=[("Allow", "POST")])
        received_at = now_microseconds()
        token = self._authenticated(environ.get("HTTP_AUTHORIZATION", ""), received_at)
        stream_id, stream = self._authorized(token, environ.get("HTTP_X_STREAM_ID"))
        quota = self._quotas.take_request(token.id, stream_id, stream.limits)
        ndjson, encoding = _content(environ)
        key = environ.get("HTTP_IDEMPOTENCY_KEY")
        if key is not None:
            request_id = keyed_request_id(stream_id, _visible(key))
        delimits_itself = encoding != "identity" or not ndjson
        body = read_body(environ, self._limit, self._readings, delimits_itself=delimits_itself)
        body = inflate(body, encoding, self._limit)
        events = read_events(body, ndjson=ndjson, shape=self._shape(stream_id))
        self._quotas.take_bytes(token.id, stream_id, stream.limits, len(body))
        begun = time.perf_counter()
        self._appender.append(Record(stream_id, request_id, received_at, events.count, events.lines))
        self._accepted(stream.name).add(events.count, len(body), time.perf_counter() - begun)
        self._tokens.note_use(token, received_at)
        answer: dict[str, object] = {"status": "accepted", "ingested_bytes": len(body), "stream_id": stream_id}
        if events.batch:
            answer["events"] = events.count
        return answer, _quota_headers(quota), request_id

    def _authenticated(self, authorization: str, moment: int) -> Token:
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise Refusal("unauthorized", "Send a token: 'Authorization: Bearer <token>'.")
        token = self._tokens.find(text.strip())
        if token is None:
            raise Refusal("unauthorized", "This token is not known here; make one with `headrace token create`.")
        if token.revoked is not None:
            raise Refusal("token_revoked", "This token was revoked; make a new one with `headrace token create`.")
        if token.expires is not None and token.expires <= moment:
            raise Refusal("token_expired", "This token has expired; make a new one with `headrace token create`.")
        return token

    def _authorized(self, token: Token, header: str | None) -> tuple[str, StreamSettings]:
        """The stream's id in lower case, and the stream."""
        if "ingest" not in token.permissions:
            raise Refusal("forbidden", "This token lacks the 'ingest' permission.")
        if header is None:
            raise Refusal("missing_field", "The header 'X-Stream-Id' is required: the id of the stream to send to.")
        stream_id = header.strip().lower()
        stream = self._streams.get(stream_id) if len(stream_id) == _UUID_LENGTH else None
        if stream is None:
            raise Refusal("unknown_stream", "There is no stream with this id: copy it from headrace.yaml.")
        if not token.is_for(stream_id):
            raise Refusal("forbidden", "This token is not for this stream.")
        return stream_id, stream

    def _linger(
        self, environ: Environ, start_response: StartResponse, answer: tuple[int, Headers, bytes, str]
    ) -> Iterable[bytes]:
        """Answers at once, then reads on for a little: a client that is still sending would else see its connection
        reset, and never the answer."""
        _start(start_response, answer)
        return self._lingering(environ, answer[2])

    def _lingering(self, environ: Environ, body: bytes) -> Iterator[bytes]:
        yield body
        declared = declared_length(environ)
        if "HTTP_EXPECT" in environ or (declared is not None and declared > _LINGER_BYTES):
            return  # it is waiting for our word, or would send too much to be worth it
        with self._readings.reading(*endpoints(environ), seconds=_LINGER_SECONDS, answered=True):
            left = _LINGER_BYTES if declared is None else declared
            while left > 0 and (part := environ["wsgi.input"].read(min(left, _LINGER_STEP))):
                left -= len(part)


def _content(environ: Environ) -> tuple[bool, str]:
    """Whether the body is NDJSON, and its encoding."""
    media_type = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if media_type not in (JSON, NDJSON):
        what = f"'{media_type[:100]}'" if media_type else "nothing"
        raise Refusal("unsupported_media_type", f"Content-Type says {what}; send {JSON} or {NDJSON}.")
    encoding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower() or "identity"
    if encoding not in ENCODINGS:
        raise Refusal(
            "unsupported_media_type",
            f"Content-Encoding '{encoding[:100]}' is not understood; send gzip, zstd, deflate or none.",
            headers=[("Accept-Encoding", "gzip, zstd, deflate")],
        )
    return media_type == NDJSON, encoding


def _visible(key: str) -> str:
    if not 1 <= len(key) <= 255 or not all("!" <= character <= "~" for character in key):
        raise Refusal("invalid_format", "The header 'Idempotency-Key' must be 1 to 255 visible ASCII characters.")
    return key


def _quota_headers(quota: Quota | None) -> Headers:
    return [] if quota is None else quota.headers()


def _refused(refusal: Refusal) -> tuple[int, Headers, bytes]:
    metrics.REJECTED.labels(refusal.error).inc()
    return refusal.status, refusal.headers, refusal.body()


def _start(start_response: StartResponse, answer: tuple[int, Headers, bytes, str]) -> None:
    status, headers, body, request_id = answer
    start_response(
        f"{status} {REASON[status]}",
        [
            ("Content-Type", JSON),
            ("Content-Length", str(len(body))),
            ("X-Request-Id", request_id),
            *headers,
        ],
    )
