"""What a configuration can say of a Splunk HTTP Event Collector."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from connectors.sinks.complaints import complained, refuse
from connectors.sinks.phrase import phrase
from connectors.sinks.sent import Rows, Web, wrong_certificates, wrong_name, wrong_url
from connectors.values import Between, Bytes, Secret

AckTimeout = Annotated[timedelta, Between(timedelta(seconds=1), timedelta(hours=1))]


class SplunkHecDestination(
    Web, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="splunk_hec"
):
    """A Splunk HTTP Event Collector, or what takes events as it does: each event at least once.

        destinations:
          lake: {type: delta, uri: "./data/lake/{stream}"}
          siem: {type: splunk_hec, url: "https://siem:8088", token: "${SPLUNK_TOKEN}", ack: true}
        routes:
          - {to: [siem, lake]}

    `url` is the collector's, `token` its own. The event goes as JSON, gzipped unless `compress: false`; `time` is its
    timestamp. `host`, `source`, `sourcetype`, `index` and the indexed `fields` are texts that may name fields:
    `{event.host}`; one that comes out empty is left to the collector. An `index` with fields begins with a text of its own
    or `{stream}`, and what no index's name has becomes `_` in it. `fields` always has `event_id` and `stream`.

    Without `ack` a row counts as delivered once the collector has taken it, which is into memory. With it (the token
    needs "indexer acknowledgement") it is once Splunk says that it is indexed; what is not within `ack_timeout` is sent
    again.
    """

    url: Annotated[str, msgspec.Meta(min_length=1)]
    token: Secret
    index: str | None = None
    host: str | None = None
    source: str = "{source}"
    sourcetype: str = "_json"
    fields: dict[str, str] = msgspec.field(default_factory=dict)
    ack: bool = False
    ack_timeout: AckTimeout = timedelta(minutes=2)
    compress: bool = True
    batch_rows: Rows = 5_000
    batch_bytes: Bytes = 1_000_000

    def __post_init__(self) -> None:
        refuse(self._wrong())

    def _wrong(self) -> Iterator[str]:
        unread = list(wrong_url(self.url))
        yield from unread
        yield from wrong_certificates(self)
        if not unread and (urlsplit(self.url).query or urlsplit(self.url).username is not None):
            yield "url: a query or a user has no place in it; write https://host:8088"
        for name in ("index", "host", "source", "sourcetype"):
            unread = list(complained(name, phrase, getattr(self, name) or ""))
            yield from unread
            if name == "index" and self.index and not unread and phrase(self.index).constant is None:
                yield from wrong_name("index", self.index, "lower")
        for name, text in self.fields.items():
            yield from complained(f"fields.{name}", phrase, text)
            if name in ("event_id", "stream"):
                yield f"fields: {name} is always there; take another name"
        if not re.fullmatch(r"[!-~]+", self.token):
            yield "token: empty, or with characters that no token has"

    @property
    def base(self) -> str:
        """The collector's address up to and without `/services/…`."""
        return str.__str__(self.url).split("/services/collector")[0].rstrip("/")
