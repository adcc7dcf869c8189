"""The error table of the HTTP API, and the one shape every error answer has.

`{"error": code, "detail": one sentence a person can act on}`, for a batch also `errors` and, past 100, `more`.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

Headers = list[tuple[str, str]]

STATUS = {
    "invalid_json": 400,
    "invalid_format": 400,
    "missing_field": 400,
    "invalid_type": 400,
    "payload_too_large": 400,
    "unauthorized": 401,
    "token_expired": 401,
    "token_revoked": 401,
    "forbidden": 403,
    "unknown_stream": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "unsupported_media_type": 415,
    "rate_limited": 429,
    "internal": 500,
    "unavailable": 503,
}
"""Every error code there is, with its status."""

REASON = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    415: "Unsupported Media Type",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
MAX_ERRORS = 100

_encode = msgspec.json.Encoder().encode


class BadEvent(msgspec.Struct, frozen=True):
    """What is wrong with one event of a batch: its index, where in it (`$` is the event), the code, a sentence."""

    index: int
    path: str
    error: str
    detail: str


class Refusal(Exception):
    """A request that gets an error answer. `headers` are what the answer carries beside the usual ones."""

    def __init__(
        self, error: str, detail: str, *, headers: Headers | None = None, bad: Iterable[BadEvent] = ()
    ) -> None:
        super().__init__(detail)
        self.error = error
        self.detail = detail
        self.headers = headers or []
        self.bad = tuple(bad)
        if STATUS[error] == 401:
            self.headers.append(("WWW-Authenticate", "Bearer"))

    @property
    def status(self) -> int:
        return STATUS[self.error]

    def body(self) -> bytes:
        """The JSON of the answer."""
        answer: dict[str, object] = {"error": self.error, "detail": self.detail}
        if self.bad:
            answer["errors"] = self.bad[:MAX_ERRORS]
            if len(self.bad) > MAX_ERRORS:
                answer["more"] = len(self.bad) - MAX_ERRORS
        return _encode(answer)
