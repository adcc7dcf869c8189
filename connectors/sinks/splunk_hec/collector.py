"""One collector over HTTP: a request, its answer, and what an answer that is not "Success" means.

Codes: "Possible error codes" of Splunk's "Troubleshoot HTTP Event Collector". What only a person can mend, at the
collector or in the configuration, is a ConfigError and no refusal of events: they wait, and are sent once it is mended.
"""

from __future__ import annotations

import gzip
import uuid
from http.cookies import CookieError, SimpleCookie
from typing import Any

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError, SSLError

from connectors.errors import ConfigError, HeadraceError, Transient
from connectors.sinks.splunk_hec.settings import SplunkHecDestination
from connectors.sinks.web import retry_seconds, tls_context
from connectors.values import as_written

_ACCEPTED = 0
_TOKEN = {1, 2, 3, 4, 16, 21}
_INDEX = 7
_CHANNEL = {10, 11, 14, 19, 20}
_MALFORMED = {5, 6, 12, 13, 15}


class Malformed(HeadraceError):
    """The collector refuses what was sent: the event at place `number` of it, or it does not say which (None)."""

    def __init__(self, what: str, number: int | None) -> None:
        super().__init__(what)
        self.number = number


class Collector:
    """One channel of the collector, used by one thread."""

    def __init__(self, settings: SplunkHecDestination) -> None:
        self._settings = settings
        self._address = as_written(settings.url)
        self._cookies: dict[str, str] = {}  # a load balancer's: acknowledgements are asked of who took the events
        self._channel = str(uuid.uuid4())
        self._http = _pool(settings)

    def take(self, events: memoryview) -> int | None:
        """Hands over events; the number under which they will be acknowledged.

        Raises Malformed, Transient, ConfigError.
        """
        body: Any = gzip.compress(events, 3, mtime=0) if self._settings.compress else bytes(events)
        headers = {"Content-Type": "application/json"}
        if self._settings.compress:
            headers["Content-Encoding"] = "gzip"
        answer = self._post("/services/collector/event", body, headers)
        number = answer.get("ackId")
        if self._settings.ack and not isinstance(number, int):
            what = f"{self._address} took events without a number to acknowledge them by"
            raise ConfigError(what, remedy="turn on indexer acknowledgement for the token, or set `ack: false`")
        return number

    def acknowledged(self, numbers: list[int]) -> set[int]:
        """Those of `numbers` that are indexed. Splunk forgets a number once it has said so.

        Raises Transient, ConfigError.
        """
        body = msgspec.json.encode({"acks": numbers})
        try:
            answer = self._post(f"/services/collector/ack?channel={self._channel}", body, {})
        except Malformed as exc:
            raise Transient(exc.what) from exc
        acks = answer.get("acks")
        if not isinstance(acks, dict):
            raise Transient(f"{self._address} did not say what it has acknowledged")
        return {number for number in numbers if acks.get(str(number)) is True}

    def renew(self) -> None:
        """Goes on with another channel: the numbers of this one are of no use any more."""
        self._channel = str(uuid.uuid4())

    def close(self) -> None:
        """Closes the connection."""
        self._http.clear()

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        headers = {**headers, "Authorization": f"Splunk {str.__str__(self._settings.token)}"}
        headers["X-Splunk-Request-Channel"] = self._channel
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        try:
            response = self._http.request(
                "POST", self._settings.base + path, body=body, headers=headers, redirect=False, retries=False
            )
        except HTTPError as exc:
            raise _unreachable(self._address, exc) from exc
        self._keep_cookies(response)
        answer = _read(response.data)
        # A page of somebody else (a proxy, a portal) says 200 too: only a collector's own words count.
        if response.status == 200 and (answer.get("code") == _ACCEPTED or "acks" in answer):
            return answer
        raise self._failure(response, answer)

    def _failure(self, response: urllib3.BaseHTTPResponse, answer: dict[str, Any]) -> HeadraceError:
        code, text = answer.get("code"), str(answer.get("text", response.reason))[:100]
        said = f"{self._address} answered {response.status}: {text}" + ("" if code is None else f" (code {code})")
        number = answer.get("invalid-event-number")
        number = number if isinstance(number, int) and not isinstance(number, bool) else None
        if response.status in (401, 403) or code in _TOKEN:
            return ConfigError(said, remedy="put `token` right, here or in Splunk; the events wait")
        if code in _CHANNEL:
            return ConfigError(said, remedy="`ack` and the token's indexer acknowledgement must agree")
        if code == _INDEX and "{" not in (self._settings.index or ""):
            return ConfigError(said, remedy="set `index` to one that the token may write to; the events wait")
        if response.status == 413 or code in (*_MALFORMED, _INDEX):
            return Malformed(said, number)
        if response.status in (404, 405) or response.status < 400:
            return ConfigError(said, remedy="is `url` that of an HTTP Event Collector?")
        return Transient(said, retry_after=retry_seconds(response.headers.get("Retry-After")))

    def _keep_cookies(self, response: urllib3.BaseHTTPResponse) -> None:
        for header in response.headers.getlist("Set-Cookie"):
            try:
                self._cookies |= {name: each.value for name, each in SimpleCookie(header).items()}
            except CookieError:
                continue  # one that cannot be read cannot be sent back


def _pool(settings: SplunkHecDestination) -> urllib3.PoolManager:
    if not settings.verify:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # one a request; it was asked for
    return urllib3.PoolManager(
        num_pools=1,
        maxsize=1,
        timeout=urllib3.Timeout(total=settings.timeout.total_seconds()),
        ssl_context=tls_context(settings) if settings.base.startswith("https") else None,
    )


def _read(data: bytes) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _unreachable(address: str, exc: HTTPError) -> HeadraceError:
    if isinstance(exc, SSLError):
        remedy = "set `ca_file` to the authority that signed its certificate; is `url` a TLS address?"
        return ConfigError(f"{address}: TLS failed: {exc.args[0] if exc.args else exc}", remedy=remedy)
    if isinstance(exc, NameResolutionError):
        return Transient(f"{address}: its name is not known", remedy="look at `url` and the DNS")
    if isinstance(exc, NewConnectionError):
        return Transient(f"{address} cannot be reached: {exc.__cause__ or 'refused'}", remedy="is it up?")
    if isinstance(exc, urllib3.exceptions.TimeoutError):
        return Transient(f"{address} did not answer in time", remedy="raise `timeout` if it is only slow")
    return Transient(f"{address} broke off: {type(exc).__name__}", remedy="the events are sent again")
