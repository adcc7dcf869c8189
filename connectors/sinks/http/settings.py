"""What a configuration can say of an HTTP server that events are posted to."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from connectors.sinks.sent import Web, check_header, check_web
from connectors.values import Secret

_OURS = ("content-type", "content-length", "content-encoding", "host", "transfer-encoding")


class HttpDestination(Web, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="http"):
    """An HTTP server that takes JSON: each event at least once, its `event_id` with it.

        destinations:
          alerts: {type: http, url: "https://hooks.example/{stream}", headers: {Authorization: "Bearer ${HOOK_TOKEN}"}}

    A request (`method`, with `headers` of your own, gzipped with `compress`) has as its body what `format` says: a JSON
    `array` of events, `ndjson`, or one `event`, with its `event_id` as `Idempotency-Key`. With
    `sign_key` each request has a header `sign_header`: `t=<seconds since 1970>,v1=<HMAC-SHA-256, hexadecimal, of "<t>."
    and the body before any compression>`.

    A status of 2xx means taken; 408, 425, 429 and 5xx, and 401 and 403, are tried again; after any other the events are
    dead letters. Where a request of many is refused with 400, 413 or 422, the ones at fault are found by halving it.
    """

    url: Annotated[str, msgspec.Meta(min_length=1)]
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    format: Literal["array", "ndjson", "event"] = "array"
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    sign_key: Secret | None = None
    sign_header: str = "X-Headrace-Signature"
    compress: bool = False

    def __post_init__(self) -> None:
        check_web(self, self.url.replace("{stream}", "stream"))
        rest = self.url.replace("{stream}", "")
        if "{" in rest or "}" in rest:
            raise ValueError("url: only {stream} can stand in it, for the stream's name")
        for name, value in self.headers.items():
            check_header(name, value)
            if name.lower() in _OURS:
                raise ValueError(f"headers: {name} is headrace's to set; remove it")
        check_header(self.sign_header, "")
        if self.sign_key is not None and not self.sign_key:
            raise ValueError("sign_key: is empty")
