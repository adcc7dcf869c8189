"""What a configuration can say of a syslog server."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from connectors.sinks.complaints import complained, refuse
from connectors.sinks.phrase import phrase
from connectors.sinks.sent import Concurrency, Rows, Sent, Timeout
from connectors.values import Between, Bytes, Secret

FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("ntp", "audit", "alert", "clock", *(f"local{number}" for number in range(8))),
)
"""Names of the facilities 0 to 23 (RFC 5424, table 1)."""

SEVERITIES = {
    **{"emerg": 0, "emergency": 0, "panic": 0, "alert": 1, "crit": 2, "critical": 2, "fatal": 2, "err": 3, "error": 3},
    **{"warning": 4, "warn": 4, "notice": 5, "info": 6, "informational": 6, "information": 6, "debug": 7, "trace": 7},
}
"""Names of the severities 0 to 7 (RFC 5424, table 2), and what loggers call them."""

Window = Annotated[timedelta, Between(timedelta(0), timedelta(hours=1))]

_SD_NAME = re.compile(r"[!#-<>-\\^-~]{1,32}")
_SD_ID = re.compile(r"[!#-<>-?A-\\^-~]{1,32}(@[0-9.]+)?")


class Cef(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The header of a CEF message, and its extension, in texts that may name fields: `{event.name}`.

    Without `extensions` the event goes as JSON into `msg`. `rt` (the time) and `externalId` (the event's id) are always
    there.
    """

    vendor: str = "headrace"
    product: str = "headrace"
    version: str = "1"
    event_class: str = "{stream}"
    name: str = "{source}"
    severity: str = "5"
    extensions: dict[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        refuse(self._wrong())

    def _wrong(self) -> Iterator[str]:
        for name in self.__struct_fields__[:-1]:
            yield from complained(name, phrase, getattr(self, name))
        for name, text in self.extensions.items():
            yield from complained(f"extensions.{name}", phrase, text)
            if not re.fullmatch(r"[A-Za-z0-9_.\[\]]{1,100}", name):
                yield f"extensions: {name[:60]!r} is no CEF key; use letters, digits, '_' and '.'"


class SyslogDestination(Sent, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="syslog"):
    """A syslog server: RFC 5424 messages over TCP (octet counting, RFC 6587) or TLS (RFC 5425), at least once.

        destinations:
          lake: {type: delta, uri: "./data/lake/{stream}"}
          siem: {type: syslog, address: "tls://siem:6514", severity: "{event.level}"}
        routes:
          - {to: [siem, lake]}

    `address` is `tcp://host:port` or `tls://host:port`. Texts may name fields, `{source}`, `{event.host}`. A `facility`
    or `severity` that the field has not, or that is none, is `user` and `info`; `hostname` (this machine's unless set),
    `app_name`, `procid` and `msgid` are made printable ASCII. Each message carries `event_id` and `stream` as structured
    data under `sd_id`, and what `structured_data` adds. `body` is the row as JSON, as `cef`, or the text `message` (as
    JSON where that is empty); `bom` says when a byte order mark is before it: where it is not ASCII.

    `max_bytes` is the longest message the server takes whole, without its length before it (rsyslog: 8096 unless told
    otherwise, and what is longer it cuts off); a longer one is a dead letter.

    `ca_file`, `server_name` and `verify` are for the server's certificate; `client_cert`, `client_key` and
    `client_key_password` are ours.

    Syslog acknowledges nothing. Rows count as delivered once the server's TCP has all their bytes; a server that takes
    nothing for `timeout` is given up. Rows of the last `resend_within`, at least the newest `resend_bytes`, are kept and
    sent again when a connection breaks. More connections than one (`concurrency`) lose the order.
    """

    address: Annotated[str, msgspec.Meta(min_length=1)]
    facility: str = "user"
    severity: str = "info"
    hostname: str | None = None
    app_name: str = "{source}"
    procid: str = "-"
    msgid: str = "{stream}"
    sd_id: str = "headrace@32473"
    structured_data: dict[str, str] = msgspec.field(default_factory=dict)
    body: Literal["json", "cef", "message"] = "json"
    message: str = "{event.message}"
    cef: Cef = msgspec.field(default_factory=Cef)
    bom: Literal["needed", "always", "never"] = "needed"
    max_bytes: Bytes = 8096
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    client_key_password: Secret | None = None
    server_name: str | None = None
    verify: bool = True
    timeout: Timeout = timedelta(seconds=30)
    resend_bytes: Bytes = 8_388_608
    resend_within: Window = timedelta(seconds=30)
    batch_rows: Rows = 5_000
    concurrency: Concurrency = 1

    def __post_init__(self) -> None:
        refuse(self._wrong())

    @property
    def is_tls(self) -> bool:
        """Whether the server is spoken to over TLS."""
        return self.address.startswith("tls://")

    @property
    def host(self) -> str:
        """The server's name or IP address."""
        return urlsplit(self.address).hostname or ""

    @property
    def port(self) -> int:
        """The server's port: 6514 for TLS and 601 for TCP unless the address says so."""
        return urlsplit(self.address).port or (6514 if self.is_tls else 601)

    def _wrong(self) -> Iterator[str]:
        yield from self._wrong_address()
        for name in ("hostname", "app_name", "procid", "msgid", "message"):
            yield from complained(name, phrase, getattr(self, name) or "")
        yield from _unknown("facility", self.facility, FACILITIES, 24)
        yield from _unknown("severity", self.severity, SEVERITIES, 8)
        for name, text in self.structured_data.items():
            yield from complained(f"structured_data.{name}", phrase, text)
            if not _SD_NAME.fullmatch(name) or name in ("event_id", "stream"):
                yield f"structured_data: {name[:60]!r} cannot be used; take another name of 1–32 ASCII letters"
        if not _SD_ID.fullmatch(self.sd_id) or len(self.sd_id) > 32:
            yield f"sd_id: {self.sd_id[:60]!r} is none; write name@<private enterprise number>"

    def _wrong_address(self) -> Iterator[str]:
        remedy = "write tcp://host:port or tls://host:6514"
        parts = urlsplit(self.address)
        if parts.scheme not in ("tcp", "tls"):
            yield f"address: neither tcp:// nor tls://; {remedy}"
            return
        try:
            host, _ = parts.hostname, parts.port
        except ValueError:
            yield f"address: its port is no number of 1–65535; {remedy}"
            return
        if not host or parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
            yield f"address: not a host and a port alone; {remedy}"
        given = [n for n in ("ca_file", "client_cert", "client_key", "server_name") if getattr(self, n) is not None]
        if given and not self.is_tls:
            yield f"{given[0]}: means nothing without TLS; write tls:// in the address, or remove it"
        if self.client_key is not None and self.client_cert is None:
            yield "client_key: there is no client_cert to go with it; give both or none"


def _unknown(key: str, text: str, known: Collection[str], count: int) -> Iterator[str]:
    """What is wrong with a text that is to be one of the names `known`, or a number below `count`, or made of fields."""
    unread = list(complained(key, phrase, text))
    yield from unread
    constant = None if unread else phrase(text).constant
    if constant is not None and constant not in (*known, *map(str, range(count))):
        yield f"{key}: unknown {constant[:60]!r}; one of {', '.join(known)}"
