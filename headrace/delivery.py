"""Sends lines to a gateway in batches: each event arrives once, or is named with its reason.

A batch is tried again while the gateway cannot take it (429, 503, no connection), each time under the same
Idempotency-Key, so a repeat of what had arrived after all leaves one copy. A batch with bad lines is refused whole by
the gateway: the lines it names are set aside and the rest is sent again.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import msgspec
import orjson
import urllib3

from connectors.errors import HeadraceError

MAX_BODY = 1_048_576
"""Bytes a gateway takes in one request, decompressed."""

BATCH_BYTES = 512 * 1024
BATCH_EVENTS = 5_000

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 20.0  # seconds
_TIMEOUT = urllib3.Timeout(connect=5.0, read=60.0)
_AGAIN = (429, 500, 502, 503, 504)


class Line(msgspec.Struct, frozen=True, gc=False):
    """One event: its JSON, and the line of the file (from 1) that it came from."""

    number: int
    event: bytes


class Refused(msgspec.Struct, frozen=True):
    """A line that will never be taken, and why."""

    line: int
    error: str
    detail: str


class Account(msgspec.Struct):
    """What became of everything: events accepted, requests made for it, tries repeated, lines refused."""

    events: int = 0
    requests: int = 0
    retries: int = 0
    refused: list[Refused] = []


class Delivery:
    """Batches for one stream of one gateway. `sleep` and `uniform` (the jitter) are arguments for the tests' sake."""

    def __init__(
        self,
        url: str,
        token: str,
        stream_id: str,
        *,
        key: str,
        compression: str = "zstd",
        give_up_after: float = 300.0,
        sleep: Callable[[float], None] = time.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`key` names this run: equal batches under an equal key are taken once. `give_up_after` is in seconds."""
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise HeadraceError(f"'{url}' is not a gateway's URL", remedy="give --url as http://host:port")
        self.account = Account()
        self._url = f"{url.rstrip('/')}/v1/streams/ingest"
        self._key = key
        self._encode = _ENCODERS[compression]
        self._give_up_after = give_up_after
        self._sleep = sleep
        self._uniform = uniform
        self._pool = urllib3.PoolManager(maxsize=1, retries=False, timeout=_TIMEOUT)
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/x-ndjson",
            "X-Stream-Id": stream_id,
        }
        if compression != "none":
            self._headers["Content-Encoding"] = compression

    def send(self, batch: list[Line]) -> None:
        """Returns once every line is accepted or counted as refused; HeadraceError where going on is pointless."""
        while batch:
            status, answer = self._post(batch)
            if status == 200:
                self.account.events += len(batch)
                self.account.requests += 1
                return
            if status != 400:
                reason = str(answer.get("detail") or f"status {status}")
                raise HeadraceError(f"the gateway refused: {reason}", remedy=_REMEDIES.get(status, ""))
            bad = {e["index"]: e for e in answer.get("errors", []) if 0 <= e.get("index", -1) < len(batch)}
            if not bad and len(batch) > 1:  # it cannot say which: halve until it must
                middle = len(batch) // 2
                self.send(batch[:middle])
                batch = batch[middle:]
                continue
            for index, error in sorted((bad or {0: answer}).items()):
                refused = Refused(batch[index].number, str(error.get("error")), str(error.get("detail")))
                self.account.refused.append(refused)
            batch = [line for index, line in enumerate(batch) if index not in (bad or {0})]

    def _post(self, batch: list[Line]) -> tuple[int, dict[str, Any]]:
        body = b"\n".join(line.event for line in batch)
        digest = hashlib.blake2b(body, digest_size=12).hexdigest()
        headers = self._headers | {"Idempotency-Key": f"{self._key}-{batch[0].number}-{digest}"}
        encoded = self._encode(body)
        pause, deadline = _FIRST_PAUSE, time.monotonic() + self._give_up_after
        while True:
            wait = 0.0
            try:
                response = self._pool.request("POST", self._url, body=encoded, headers=headers, redirect=False)
            except urllib3.exceptions.HTTPError as exc:
                why = f"no answer from {self._url} ({_reason(exc)})"
            else:
                if response.status not in _AGAIN:
                    return response.status, _json(response.data)
                why = f"{self._url} answers {response.status}: {_json(response.data).get('detail', '')}"
                wait = _seconds(response.headers.get("Retry-After"))
            # Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"): senders that failed together
            # do not come back together. What the gateway asks for is the least that is waited.
            wait += self._uniform(0, pause)
            if time.monotonic() + wait > deadline:
                raise HeadraceError(
                    f"gave up after {self._give_up_after:.0f} s: {why}", remedy="is `headrace up` running?"
                )
            self.account.retries += 1
            pause = min(pause * 2, _LONGEST_PAUSE)
            self._sleep(wait)


def batches(lines: Iterable[Line | Refused], refuse: Callable[[Refused], None]) -> Iterator[list[Line]]:
    """Groups lines into batches that a gateway takes; a line that was refused on the way goes to `refuse`."""
    batch: list[Line] = []
    size = 0
    for line in lines:
        if isinstance(line, Refused):
            refuse(line)
            continue
        if batch and (size + len(line.event) + 1 > BATCH_BYTES or len(batch) == BATCH_EVENTS):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line.event) + 1
    if batch:
        yield batch


def ndjson_lines(file: BinaryIO) -> Iterator[Line | Refused]:
    """The events of an NDJSON file; blank lines are skipped."""
    for number, text in _lines(file):
        if text is None:
            yield Refused(number, "payload_too_large", f"The line is longer than {MAX_BODY:,} bytes.")
        elif event := text.strip(b" \t\r\n\xef\xbb\xbf" if number == 1 else b" \t\r\n"):
            yield Line(number, event)


def raw_lines(file: BinaryIO, source: str) -> Iterator[Line | Refused]:
    """Each line of a log file as the event `{"source": source, "event": {"message": line}}`; blank lines are skipped.

    Bytes that are no UTF-8 become U+FFFD.
    """
    for number, text in _lines(file):
        event = None
        if text is not None and (message := text.rstrip(b"\r\n").decode(errors="replace")):
            event = orjson.dumps({"source": source, "event": {"message": message}})
        if text is None or (event is not None and len(event) > MAX_BODY):
            yield Refused(number, "payload_too_large", f"As an event the line is longer than {MAX_BODY:,} bytes.")
        elif event is not None:
            yield Line(number, event)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines; None stands for one that is too long, which is never held in memory."""
    number = 0
    while text := file.readline(MAX_BODY + 2):
        number += 1
        if len(text) > MAX_BODY + 1 or (len(text) == MAX_BODY + 1 and not text.endswith(b"\n")):
            while not text.endswith(b"\n") and (text := file.readline(MAX_BODY)):
                pass
            yield number, None
        else:
            yield number, text


def _zstd(body: bytes) -> bytes:
    import zstandard

    return zstandard.compress(body, 3)


def _gzip(body: bytes) -> bytes:
    import gzip

    return gzip.compress(body, 6)


_ENCODERS: dict[str, Callable[[bytes], bytes]] = {"zstd": _zstd, "gzip": _gzip, "none": lambda body: body}

_REMEDIES = {
    401: "give a token that is valid: --token or HEADRACE_TOKEN; headrace token create makes one",
    403: "headrace token create --stream NAME makes a token for the stream",
    404: "is --url the gateway's, and is the stream in its headrace.yaml?",
}


def _json(data: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        found = None
    return found if isinstance(found, dict) else {"detail": data[:200].decode(errors="replace")}


def _seconds(text: str | None) -> float:
    try:
        return max(0.0, float(text or 0))
    except ValueError:
        return 0.0


def _reason(exc: Exception) -> str:
    """The innermost cause of a failed request, in a few words."""
    inner: BaseException = exc
    while (deeper := inner.__cause__ or inner.__context__) is not None:
        inner = deeper
    return getattr(inner, "strerror", None) or str(inner)
