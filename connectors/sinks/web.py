"""Requests to a server that events are sent to: one kept-alive connection, and what its answers mean."""

from __future__ import annotations

import gzip
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import msgspec
import urllib3

from connectors.errors import ConfigError, Transient
from connectors.sinks.sent import Web

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529})
"""Statuses that another time may not have."""

_LONGEST_WAIT = 3600.0
_SHOWN = 200  # characters of an answer that a dead letter repeats


class Answer(msgspec.Struct, frozen=True):
    """What a server answered; `retry_after` in seconds, where it said so."""

    status: int
    body: bytes
    retry_after: float | None

    def told(self) -> str:
        """The answer, cut short, as a reason: it may repeat what was sent, so it is for dead letters, not for logs."""
        text = " ".join(self.body[: 4 * _SHOWN].decode(errors="replace").split())
        return f"status {self.status}" + (f": {text[:_SHOWN]}" if text else "")


class WebClient:
    """Speaks to one server; used by one thread at a time. `where` is how messages name the server."""

    def __init__(self, url: str, settings: Web, headers: Mapping[str, str]) -> None:
        """Raises ConfigError where a certificate cannot be read."""
        parts = urlsplit(str.__str__(url))
        self.where = parts.hostname or ""
        self._headers = dict(headers)
        self._pool = urllib3.PoolManager(
            num_pools=4,
            maxsize=1,
            retries=False,
            timeout=urllib3.Timeout(settings.timeout.total_seconds()),
            ssl_context=tls_context(settings) if parts.scheme == "https" else None,
        )

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, compress: bool = False, method: str = "POST"
    ) -> Answer:
        """The server's answer, unless it is one for all requests: raises Transient, ConfigError (401, 403, 407, 3xx)."""
        own = self._headers | dict(headers)
        if compress:
            body, own = gzip.compress(body, 1), own | {"Content-Encoding": "gzip"}
        try:
            answer = self._pool.request(method, url, body=body, headers=own, redirect=False)
        except urllib3.exceptions.SSLError as exc:
            raise Transient(
                f"{self.where}: its certificate is not trusted ({_reason(exc)})", remedy="see ca_file"
            ) from None
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise Transient(f"{self.where} cannot be reached: {_reason(exc)}") from None
        retry_after = retry_seconds(answer.headers.get("Retry-After"))
        if answer.status in (401, 403, 407):
            raise ConfigError(f"{self.where} refuses us: status {answer.status}", remedy="see the credentials")
        if 300 <= answer.status < 400:
            raise ConfigError(f"{self.where} sends us elsewhere: status {answer.status}", remedy="mend the url")
        if answer.status in PASSING:
            raise Transient(f"{self.where} answers with status {answer.status}", retry_after=retry_after)
        return Answer(answer.status, answer.data, retry_after)

    def close(self) -> None:
        """Ends the connection."""
        self._pool.clear()


def tls_context(settings: Web) -> ssl.SSLContext:
    """What the settings ask of TLS. Raises ConfigError where a certificate cannot be read."""
    context = ssl.create_default_context()
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        file = settings.ca_file
        if settings.ca_file is not None:
            context.load_verify_locations(settings.ca_file)
        file = settings.client_cert
        if settings.client_cert is not None:
            context.load_cert_chain(settings.client_cert, settings.client_key)
    except OSError as exc:
        raise ConfigError(
            f"{file} cannot be read as a certificate: {exc.strerror or type(exc).__name__}",
            remedy="name a PEM file, and its key with client_key",
        ) from None
    return context


def _reason(exc: BaseException) -> str:
    """An error's kind, without the address and its credentials that urllib3 puts into its text."""
    while isinstance(exc, urllib3.exceptions.MaxRetryError | urllib3.exceptions.ProtocolError):
        inner = exc.reason if isinstance(exc, urllib3.exceptions.MaxRetryError) else exc.__context__
        if inner is None:
            break
        exc = inner
    if isinstance(exc, urllib3.exceptions.NewConnectionError):
        return "no connection"
    if isinstance(exc, urllib3.exceptions.SSLError) and isinstance(exc.__context__, ssl.SSLCertVerificationError):
        return exc.__context__.verify_message
    return getattr(exc, "strerror", None) or type(exc).__name__


def retry_seconds(retry_after: str | None) -> float | None:
    """A Retry-After header (RFC 9110, section 10.2.3): seconds, or a date."""
    if retry_after is None:
        return None
    try:
        wait = float(retry_after)
    except ValueError:
        try:
            wait = (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(wait, 0.0), _LONGEST_WAIT) if wait == wait else None  # noqa: PLR0124 -- NaN
