"""What the configuration of every destination that events are sent to has in common."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from connectors.sinks.batching import Batching
from connectors.sinks.name_templates import Letters, complaint
from connectors.values import Between, Bytes

Rows = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
Concurrency = Annotated[int, msgspec.Meta(ge=1, le=256)]
Linger = Annotated[timedelta, Between(timedelta(0), timedelta(minutes=5))]
Timeout = Annotated[timedelta, Between(timedelta(milliseconds=100), timedelta(minutes=10))]


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """When rows are sent, and how many at once.

    They are sent once `batch_rows` or `batch_bytes` of a partition and stream wait, or the oldest has waited for
    `linger`. At most `concurrency` requests are under way; how many there are follows how the destination answers.
    """

    batch_rows: Rows = 1_000
    batch_bytes: Bytes = 4_194_304
    linger: Linger = timedelta(milliseconds=100)
    concurrency: Concurrency = 8

    @property
    def batching(self) -> Batching:
        """The same, for `PushWriter`."""
        return Batching(self.batch_rows, self.batch_bytes, self.linger, self.concurrency)


class Web(Sent, frozen=True, kw_only=True):
    """How a server is spoken to over HTTP: each request has `timeout` to be answered.

    `ca_file` and `verify` are for the server's certificate, `client_cert` and `client_key` for ours.
    """

    ca_file: Path | None = None
    verify: bool = True
    client_cert: Path | None = None
    client_key: Path | None = None
    timeout: Timeout = timedelta(seconds=30)


def wrong_url(url: str) -> Iterator[str]:
    """What is wrong with the address `url`. It shows nothing of it."""
    remedy = "write https://host:port/path"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        yield f"url: its host or port cannot be read; {remedy}"
        return
    if parts.scheme not in ("http", "https") or not host:
        yield f"url: neither http:// nor https://; {remedy}"
    elif parts.fragment:
        yield f"url: a fragment ('#…') has no place in it; {remedy}"


def wrong_certificates(settings: Web) -> Iterator[str]:
    """What is wrong with our certificate."""
    if settings.client_key is not None and settings.client_cert is None:
        yield "client_key: there is no client_cert to go with it; give both or none"


def wrong_pair(username: str | None, password: str | None) -> Iterator[str]:
    """What is wrong where one of them is there without the other."""
    if (username is None) != (password is None):
        given, other = ("username", "password") if password is None else ("password", "username")
        yield f"{given}: goes with a {other}; give both or none"


def wrong_name(key: str, template: str, letters: Letters) -> Iterator[str]:
    """Why names cannot be made of `template`."""
    if (wrong := complaint(template, letters)) is not None:
        yield f"{key}: {wrong}"


def wrong_header(key: str, name: str, value: str) -> Iterator[str]:
    """Why this cannot be an HTTP header (RFC 9110, section 5)."""
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        yield f"{key}: {name[:60]!r} is no name of a header"
    if not re.fullmatch(r"[\t\x20-\x7e]*", value):
        yield f"{key}: {name[:60]}: a header has only visible ASCII characters and spaces"
