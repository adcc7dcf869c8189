"""Events and log lines that look like those of a company, the same for the same seed.

    python -m headrace.generate --kind payments -n 1000 --seed 7 > payments.ndjson

Kinds: `payments` (flat, typed, one field that appears later), `web` (access log lines), `app` (structured logs with
nested context), `iot` (readings; a unit's firmware turns a whole number into a fraction), `mixed` (all of them).
Everything is drawn from one seeded generator: no clock, no machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from typing import Any

import orjson

Event = dict[str, Any]

START = datetime(2025, 2, 12, 9, 0, tzinfo=UTC)

_FIRST = (
    "ada",
    "ben",
    "chen",
    "dina",
    "emil",
    "fatima",
    "goran",
    "hana",
    "ivo",
    "june",
    "kofi",
    "lena",
    "mina",
    "noor",
)
_CURRENCIES = (("USD", 60), ("EUR", 25), ("GBP", 10), ("JPY", 5))
_PATHS = (
    ("/", 20),
    ("/cart", 14),
    ("/checkout", 6),
    ("/api/v2/items", 30),
    ("/healthz", 20),
    ("/login", 8),
    ("/gone", 2),
)
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:136.0) Gecko/20100101 Firefox/136.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/134.0 Safari/537.36",
    "curl/8.5.0",
    "kube-probe/1.31",
)
_SERVICES = ("orders", "catalog", "mailer", "search")
_MESSAGES = (
    ("info", "request done"),
    ("info", "cache refreshed"),
    ("warning", "slow query"),
    ("error", "upstream timed out"),
    ("debug", "retry scheduled"),
)


def payments(random: Random, when: Iterator[datetime]) -> Iterator[Event]:
    """Card payments; `risk` appears after the first half-thousand, as a release would bring it."""
    for number, moment in enumerate(when):
        status = _pick(random, (("approved", 88), ("declined", 9), ("refunded", 3)))
        event: Event = {
            "transactionId": f"txn_{40000 + number}",
            "status": status,
            "latency_ms": int(random.lognormvariate(5, 0.5)),
            "amount": round(random.lognormvariate(3.6, 1.1), 2),
            "currency": _pick(random, _CURRENCIES),
            "card": _card(random),
            "user": {
                "id": f"u{random.randrange(5000)}",
                "email": f"{random.choice(_FIRST)}{random.randrange(99)}@example.com",
            },
        }
        if number > 500:
            event["risk"] = {"score": round(random.random(), 3), "rules": random.sample(["velocity", "geo", "bin"], 2)}
        yield _event(moment, "payments-app", event, {"env": "prod", "team": "payments"})


def web(random: Random, when: Iterator[datetime]) -> Iterator[Event]:
    """Requests of a shop, each with its line in the combined log format; a fifth of them are health checks."""
    for moment in when:
        path = _pick(random, _PATHS)
        status = 200 if path == "/healthz" else _pick(random, ((200, 90), (304, 4), (404, 4), (500, 2)))
        agent = _AGENTS[3] if path == "/healthz" else random.choice(_AGENTS[:3])
        address = f"198.51.100.{random.randrange(256)}"
        size = 2 if path == "/healthz" else random.randrange(300, 60_000)
        line = f'{address} - - [{moment:%d/%b/%Y:%H:%M:%S +0000}] "GET {path} HTTP/1.1" {status} {size} "-" "{agent}"'
        event = {"message": line, "path": path, "status": status, "bytes": size}
        yield _event(moment, "shop-web", event, {"region": random.choice(("eu", "us"))})


def app(random: Random, when: Iterator[datetime]) -> Iterator[Event]:
    """Structured logs of some services, with nested context and the odd stack trace."""
    for moment in when:
        level, message = random.choice(_MESSAGES)
        service = random.choice(_SERVICES)
        event: Event = {
            "level": level,
            "message": message,
            "duration_ms": random.randrange(1, 4000),
            "context": {"trace": f"{random.getrandbits(64):016x}", "pod": f"{service}-{random.randrange(4)}"},
        }
        if level == "error":
            event["error"] = {
                "type": "TimeoutError",
                "stack": ["client.py:88", "pool.py:41", f"{service}.py:{random.randrange(400)}"],
            }
        yield _event(moment, service, event, {"env": random.choice(("prod", "staging"))})


def iot(random: Random, when: Iterator[datetime]) -> Iterator[Event]:
    """Readings of a water works' sensors; after a firmware update `level_cm` has a fraction."""
    for number, moment in enumerate(when):
        unit = random.randrange(40)
        level = random.gauss(240, 12)
        event: Event = {
            "device": f"gauge-{unit:02d}",
            "level_cm": round(level, 1) if number > 1500 and unit % 4 == 0 else int(level),
            "flow_m3s": round(abs(random.gauss(3.2, 0.8)), 3),
            "battery": random.randrange(20, 101),
            "ok": random.random() > 0.01,
        }
        if random.random() < 0.02:
            event["level_cm"] = None
        yield _event(moment, f"headgate-{unit % 5}", event, {"site": f"mill-{unit % 3}"})


KINDS: dict[str, Callable[[Random, Iterator[datetime]], Iterator[Event]]] = {
    "payments": payments,
    "web": web,
    "app": app,
    "iot": iot,
}


def generate(kind: str, count: int, *, seed: int, start: datetime = START) -> Iterator[Event]:
    """`count` events of a kind in order of time, from `start` on; equal arguments give equal events."""
    if kind == "mixed":
        sources = [generate(name, count, seed=seed + place, start=start) for place, name in enumerate(KINDS)]
        order = Random(seed)  # noqa: S311 - data, not secrets
        return islice((next(order.choice(sources)) for _ in range(count)), count)
    random = Random(f"{seed}-{kind}")  # noqa: S311 - data, not secrets
    return islice(KINDS[kind](random, _moments(random, start)), count)


def _moments(random: Random, moment: datetime) -> Iterator[datetime]:
    while True:
        yield moment
        moment += timedelta(microseconds=int(random.expovariate(1 / 150_000)))


def _event(moment: datetime, source: str, event: Event, metadata: Event) -> Event:
    timestamp = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"timestamp": timestamp, "source": source, "event": event, "metadata": metadata}


def _pick(random: Random, weighted: tuple[tuple[Any, int], ...]) -> Any:
    values, weights = zip(*weighted, strict=True)
    return random.choices(values, weights)[0]


def _card(random: Random) -> str:
    """A number in the test range of a card network, with its Luhn check digit."""
    digits = "411111" + "".join(str(random.randrange(10)) for _ in range(9))
    doubled = sum(sum(divmod(2 * int(d), 10)) for d in digits[::2]) + sum(int(d) for d in digits[1::2])
    return digits + str(-doubled % 10)


def main() -> None:
    """Writes NDJSON on stdout."""
    parser = argparse.ArgumentParser(prog="python -m headrace.generate", description="Realistic events, as NDJSON.")
    parser.add_argument("--kind", choices=[*KINDS, "mixed"], default="mixed")
    parser.add_argument("-n", "--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timed", action="store_true", help="say on stderr how long it took")
    arguments = parser.parse_args()
    began = time.perf_counter()
    size = 0
    for event in generate(arguments.kind, arguments.count, seed=arguments.seed):
        size += sys.stdout.buffer.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
    if arguments.timed:
        seconds = time.perf_counter() - began
        print(f"{arguments.count:,} events, {size:,} bytes in {seconds:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
