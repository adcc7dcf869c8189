"""What a configuration can say of an HTTP server that events are posted to."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from connectors.sinks.complaints import complained, refuse
from connectors.sinks.http.texts import check_body, check_url, field_phrase
from connectors.sinks.sent import Web, wrong_certificates, wrong_header, wrong_pair, wrong_url
from connectors.values import Secret

_OURS = ("content-type", "content-length", "content-encoding", "host", "transfer-encoding")


class HttpDestination(Web, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="http"):
    """An HTTP server that takes JSON: each event at least once, its `event_id` with it.

        destinations:
          alerts: {type: http, url: "https://hooks.example/{stream}", headers: {Authorization: "Bearer ${HOOK_TOKEN}"}}

    A request (`method`, with `headers` of your own, gzipped with `compress`) has as its body what `format` says: a JSON
    `array` of events, `ndjson`, or one `event`, with its `event_id` as `Idempotency-Key`. `username` and `password`, or a
    `bearer_token`, make the header `Authorization`. With `sign_key` each request has a header `sign_header`: by
    `sign: timestamp`, `t=<seconds since 1970>,v1=<HMAC-SHA-256, hexadecimal, of "<t>." and the body before any
    compression>`, or by `sign: body`, `sha256=<HMAC-SHA-256 of the body>`, as GitHub's webhooks have it.

        destinations:
          lake:   {type: delta, uri: "./data/lake/{stream}"}
          alerts: {type: http, url: "https://hooks.example/teams/{event.team}", body: {text: "{event.user} spent {event.amount}",
                   amount: "{event.amount}", tags: ["{stream}", payments]}}
        routes:
          - {when: event.amount > 1000, to: [alerts], also: true}
          - {to: [lake]}

    `url`, `headers` and the texts of a `body` may name fields: `{event.user}`, `{source}`, `{event_id}`. `body` is what is
    sent in place of the event, one a request unless `format` says otherwise; a text in it that is one field and nothing else
    becomes that field's value, of its own type (null where the event has none), and any other text a text. A `body` that is
    itself a text is sent as plain text. In the `url` fields come after the host; a value is percent-encoded and stays within
    its segment of the path, where `none` stands for a field that is absent. In a header what is no visible ASCII becomes `_`,
    and a header that comes out empty is left out. What comes out of the environment, `${NAME}`, is no template.

    A status of 2xx means taken; 408, 425, 429 and 5xx, and 401 and 403, are tried again; after any other the events are
    dead letters. Where a request of many is refused with 400, 413 or 422, the ones at fault are found by halving it.
    """

    url: Annotated[str, msgspec.Meta(min_length=1)]
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    format: Literal["array", "ndjson", "event"] | None = None
    body: Any = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    sign_key: Secret | None = None
    sign_header: str = "X-Headrace-Signature"
    sign: Literal["timestamp", "body"] = "timestamp"
    username: str | None = None
    password: Secret | None = None
    bearer_token: Secret | None = None
    compress: bool = False

    def __post_init__(self) -> None:
        refuse(self._wrong())

    @property
    def one_each(self) -> bool:
        """Whether each event is a request of its own."""
        return self.format == "event" or (self.format is None and self.body is not None)

    @property
    def authorization(self) -> str | None:
        """The header of that name, a secret."""
        if self.bearer_token is not None:
            return f"Bearer {str.__str__(self.bearer_token)}"
        if self.username is not None and self.password is not None:
            return "Basic " + b64encode(f"{self.username!s}:{str.__str__(self.password)}".encode()).decode()
        return None

    def _wrong(self) -> Iterator[str]:
        unread = list(complained("url", check_url, self.url))
        yield from unread or wrong_url(self.url.replace("{stream}", "stream"))
        yield from wrong_certificates(self)
        for name, value in self.headers.items():
            yield from wrong_header("headers", name, value)
            yield from complained(f"headers: {name}", field_phrase, value)
            if name.lower() in _OURS:
                yield f"headers: {name} is headrace's to set; remove it"
        yield from complained("body", check_body, self.body)
        if isinstance(self.body, str) and self.one_each is False:
            yield "body: a text is sent one a request; remove the format, or write a mapping"
        yield from self._wrong_credentials()
        yield from wrong_header("sign_header", self.sign_header, "")
        if self.sign_key is not None and not self.sign_key:
            yield "sign_key: is empty"

    def _wrong_credentials(self) -> Iterator[str]:
        yield from wrong_pair(self.username, self.password)
        if self.bearer_token is not None and self.username is not None:
            yield "bearer_token: there is a username too; keep one of them"
        if self.bearer_token is not None and not re.fullmatch(r"[!-~]+", self.bearer_token):
            yield "bearer_token: empty, or with characters that no token has"
        if self.username is not None and ":" in self.username:
            yield "username: a colon cannot stand in it"
        theirs = next((name for name in self.headers if name.lower() == "authorization"), None)
        if theirs is not None and (self.bearer_token is not None or self.username is not None):
            yield f"headers: {theirs} is made of the credentials; keep one of them"
