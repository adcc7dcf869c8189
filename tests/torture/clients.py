"""The load: clients that number their events, write down what was acknowledged, and try again as a client should.

A request with an `Idempotency-Key` is sent until it is acknowledged, and some of them once more afterwards. One without
is sent once: where no 200 came back, its events may be there or not, but not twice.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import urllib3

from tests.torture.settings import STREAMS

_PAUSE = 0.3  # seconds between a client's requests, on average
_AGAIN = 0.3  # seconds before a request that was not acknowledged is sent again

Name = tuple[str, str, int]
"""An event: its stream, its client, its number."""


@dataclass
class Request:
    stream: str
    body: bytes
    headers: dict[str, str]
    names: list[Name]
    key: str | None


@dataclass
class Ledger:
    """What the clients know. Lists are only appended to."""

    acknowledged: list[Name] = field(default_factory=list)
    in_doubt: list[Name] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    requests: int = 0
    repeats: int = 0
    failures: int = 0


class Client:
    """A thread that sends until it is told to `finish`."""

    def __init__(self, name: str, url: str, token: str, seed: int, ledger: Ledger, record: Path) -> None:
        self.name = name
        self._url = f"{url}/v1/streams/ingest"
        self._token = token
        self._dice = Random(f"{seed}-{name}")
        self._ledger = ledger
        self._record = record.open("a")
        self._pool = urllib3.PoolManager(retries=False, maxsize=1)
        self._number = 0
        self.acknowledged = 0  # requests
        self._pending: Request | None = None
        self._later: deque[Request] = deque()
        self._finish = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Nothing new is sent; what has a key is, until it is acknowledged."""
        self._finish.set()

    def join(self, seconds: float) -> bool:
        """Whether all that has a key was acknowledged in time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._finish.is_set() or self._pending is not None:
            if self._pending is not None:
                request = self._pending
            elif self._later and self._dice.random() < 0.3:
                self._ledger.repeats += 1
                self._send(self._later.popleft(), again=True)
                continue
            else:
                request = self._make()
            self._send(request)
            wait = _AGAIN if self._pending is not None else self._dice.uniform(0, 2 * _PAUSE)
            time.sleep(wait)

    def _send(self, request: Request, *, again: bool = False) -> None:
        self._ledger.requests += 1
        status, answer = self._post(request)
        self.acknowledged += status == 200
        if again:
            return  # acknowledged before: this one may fail
        if status == 200:
            self._ledger.acknowledged += request.names
            self._record.write(json.dumps([request.stream, request.names[0][2], request.names[-1][2]]) + "\n")
            self._record.flush()
            if request.key is not None and self._dice.random() < 0.4:
                self._later.append(request)
            self._pending = None
        elif status is not None and status < 500 and status != 429:
            self._ledger.refused.append(f"{status} {answer[:300]!r}")
            self._pending = None
        else:
            self._ledger.failures += 1
            self._pending = request if request.key is not None else None
            if request.key is None:
                self._ledger.in_doubt += request.names

    def _post(self, request: Request) -> tuple[int | None, bytes]:
        try:
            answer = self._pool.request("POST", self._url, body=request.body, headers=request.headers, timeout=15)
            return answer.status, answer.data
        except urllib3.exceptions.HTTPError:
            return None, b""

    def _make(self) -> Request:
        stream = self._dice.choice(list(STREAMS))
        count = 1 if self._dice.random() < 0.5 else self._dice.randint(2, 30)
        events = [self._event(stream) for _ in range(count)]
        headers = {"Authorization": f"Bearer {self._token}", "X-Stream-Id": STREAMS[stream]}
        if count == 1:
            headers["Content-Type"], body = "application/json", json.dumps(events[0])
        else:
            headers["Content-Type"], body = "application/x-ndjson", "\n".join(map(json.dumps, events))
        key = f"{self.name}-{self._number}" if self._dice.random() < 0.5 else None
        if key is not None:
            headers["Idempotency-Key"] = key
        names = [(stream, self.name, event["event"]["n"]) for event in events]
        return Request(stream, body.encode(), headers, names, key)

    def _event(self, stream: str) -> dict[str, Any]:
        self._number += 1
        n = self._number
        event: dict[str, Any] = {"client": self.name, "n": n, "amount": n % 97}
        if stream == "masked":
            event |= {
                "card": card(n),
                "email": f"someone{n}@original.example",
                "note": f"call {card(n)} or someone{n}@original.example",
            }
            event["reading"] = f'{{"value": {n}}}' if n % 10 else f"no JSON, someone{n}@original.example"
        if stream == "strict" and n % 10 == 0:
            event["amount"] = f"text {n}"
        return {"timestamp": datetime.now(UTC).isoformat(), "source": self.name, "event": event}


def card(n: int) -> str:
    """A card number that passes its check (Luhn)."""
    digits = f"400000{n % 10**9:09d}"
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return f"{digits}{-total % 10}"
