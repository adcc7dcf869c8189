"""The events and log lines of the worked examples: everything drawn from a seed, nothing of anybody's.

    python examples/generate.py        # writes the data file of each example again

A test fails where a committed file is not what this makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import orjson

HERE = Path(__file__).parent
START = datetime(2025, 3, 3, 8, 0, tzinfo=UTC)
FIRST = ("ada", "ben", "chen", "dina", "emil", "fatima", "goran", "hana")


def services(random: Random) -> Iterator[str]:
    """Lines of three services, each in its own form; now and then one that is no log line."""
    for number, moment in enumerate(_moments(random, 400, 700)):
        status = random.choices((200, 201, 404, 500, 503), (70, 12, 8, 6, 4))[0]
        took = int(random.lognormvariate(3.5, 0.8))
        if number % 150 == 77:
            yield "\tat com.example.orders.Store.save(Store.java:88)"
            continue
        match random.choice(("edge", "edge", "orders", "mailer")):
            case "edge":
                path = random.choice(("/", "/cart", "/orders", "/orders/17", "/login"))
                yield (
                    f"198.51.100.{random.randrange(256)} - - [{moment:%d/%b/%Y:%H:%M:%S +0000}]"
                    f' "GET {path} HTTP/1.1" {status} {random.randrange(100, 9000)} "-" "curl/8.5.0" {took / 1000:.3f}'
                )
            case "orders":
                level = "ERROR" if status >= 500 else "WARN" if status == 404 else "INFO"
                yield (
                    f"{moment:%Y-%m-%d %H:%M:%S},{moment.microsecond // 1000:03d} {level:5} [orders]"
                    f" c.e.orders.Api - POST /orders {status} in {took} ms"
                )
            case _:
                level = "error" if status >= 500 else "warning" if status == 404 else "info"
                yield f"ts={moment:%Y-%m-%dT%H:%M:%S}Z level={level} svc=mailer status={status} took={took}ms"


def chatter(random: Random) -> Iterator[str]:
    """A shop's structured logs: health checks, debug lines, and a bulk of fields that nobody reads."""
    for moment in _moments(random, 900, 120):
        level = random.choices(("debug", "info", "warning", "error"), (30, 62, 5, 3))[0]
        path = "/healthz" if random.random() < 0.2 else random.choice(("/", "/cart", "/checkout", "/api/items"))
        event = {
            "level": "info" if path == "/healthz" else level,
            "path": path,
            "status": 200 if path == "/healthz" or level != "error" else 500,
            "took_ms": int(random.lognormvariate(4, 0.7)),
            "trace": f"{random.getrandbits(32):08x}",
            "headers": {
                "accept": "*/*",
                "user-agent": "Mozilla/5.0 (X11; Linux x86_64)",
                "x-forwarded-for": "10.0.0.1",
            },
        }
        pod = {"namespace": "shop", "pod": f"web-{random.randrange(4)}", "node": f"node-{random.randrange(9)}"}
        yield _event(
            moment, "shop-web", event, {"env": "prod", "kubernetes": pod | {"image": "registry/shop/web:2.4.1"}}
        )


def customers(random: Random) -> Iterator[str]:
    """A help desk's tickets, full of what must not be kept; each tenth has an order that is cut off."""
    for number, moment in enumerate(_moments(random, 60, 30_000)):
        name = random.choice(FIRST)
        email, card, address = f"{name}{number}@example.com", _card(random), f"203.0.113.{random.randrange(256)}"
        order = orjson.dumps({"id": 7000 + number, "contact": email, "paid_with": card}).decode()
        event = {
            "ticket": 100 + number,
            "name": name.title(),
            "email": email,
            "card": card,
            "address": address,
            "device": f"{random.getrandbits(64):016x}",
            "password": f"{name}-{random.randrange(10_000, 99_999)}",
            "note": f"please write to {email} or call +1 202-555-{random.randrange(100, 200):04d}, card {card}, from {address}",
            "order": order[: len(order) // 2 + 12] if number % 10 == 3 else order,
        }
        yield _event(moment, "help-desk", event, {"agent": f"a{random.randrange(4)}"})


def gauges(random: Random) -> Iterator[str]:
    """Readings of four gauges, one of which has gone mad and reports forty times as often."""
    readings = [(moment, "gauge-3") for moment in _moments(random, 800, 220)]
    for device in range(3):
        readings += [(moment, f"gauge-{device}") for moment in _moments(random, 36, 5000)]
    for moment, device in sorted(readings):
        event = {"device": device, "level_cm": round(random.gauss(240, 4), 1), "battery": random.randrange(60, 101)}
        yield _event(moment, "mill", event, {"site": "north"})


def cards(random: Random) -> Iterator[str]:
    """Payments of forty users; two of them pay fifteen times within a minute."""
    paid = [(moment, f"u{random.randrange(40)}") for moment in _moments(random, 300, 6000)]
    for thief, at in (("u7", 600), ("u31", 1200)):
        burst = START + timedelta(seconds=at)
        paid += [(burst + timedelta(milliseconds=random.randrange(60_000)), thief) for _ in range(15)]
    for number, (moment, user) in enumerate(sorted(paid)):
        event = {"transaction": f"t{number}", "user": user, "amount": round(random.lognormvariate(3.3, 0.9), 2)}
        yield _event(moment, "checkout", event | {"card": _card(random)}, {"region": random.choice(("eu", "us"))})


FILES: dict[str, Callable[[Random], Iterator[str]]] = {
    "microservice-logs/services.log": services,
    "cost-reduction/chatter.ndjson": chatter,
    "pii-cleanup/tickets.ndjson": customers,
    "iot-telemetry/gauges.ndjson": gauges,
    "payments-fraud/payments.ndjson": cards,
}


def text_of(file: str) -> str:
    """What belongs in this file, a path below this directory: the same each time."""
    return "".join(f"{line}\n" for line in FILES[file](Random(file)))  # noqa: S311 - data, not secrets


def _moments(random: Random, count: int, mean_ms: int) -> Iterator[datetime]:
    moment = START
    for _ in range(count):
        moment += timedelta(milliseconds=1 + int(random.expovariate(1 / mean_ms)))
        yield moment


def _event(moment: datetime, source: str, event: dict[str, Any], metadata: dict[str, Any]) -> str:
    timestamp = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
    whole = {"timestamp": timestamp, "source": source, "event": event, "metadata": metadata}
    return orjson.dumps(whole).decode()


def _card(random: Random) -> str:
    """A number in the test range of a card network, with its Luhn check digit."""
    digits = "411111" + "".join(str(random.randrange(10)) for _ in range(9))
    doubled = sum(sum(divmod(2 * int(d), 10)) for d in digits[::2]) + sum(int(d) for d in digits[1::2])
    return digits + str(-doubled % 10)


if __name__ == "__main__":
    for file in FILES:
        (HERE / file).write_text(text_of(file))
