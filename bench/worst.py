"""The worst cases: the CPU time of an event through the whole dataflow, beside that of an ordinary one."""

from __future__ import annotations

import itertools
import json
import random
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

from bench.payments import lines
from bench.peers import LIMIT_SECONDS, drain
from bench.rows import Row, Scale, compared, difference, told
from connectors.log import open_log
from connectors.log.settings import EmbeddedLogSettings
from connectors.record import Record, new_request_id, now_microseconds

REQUEST = 500
Requests = Iterator[list[bytes]]

WINDOW = (
    "[{window: {name: v, key: KEY, length: 5m, lateness: 10s, aggregate: {n: count(*), total: sum(event.amount)}}}]"
)
BY_USER, BY_ONE = WINDOW.replace("KEY", "event.user_id"), WINDOW.replace("KEY", "source")
THROTTLE = "[{sample: {per: {key: KEY, events_per_second: 1000}}}]"


def rows(scale: Scale) -> Iterator[Row]:
    """Each beside payments in requests of 500, through the same steps."""
    count = max(1_000, scale.events // 4)
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        cost: dict[str, float] = {}
        numbers = itertools.count()

        def usual(steps: str) -> float:
            if steps not in cost:
                cost[steps] = _speed(home / f"usual-{next(numbers)}", _requests(lines(count)), steps, 1)
            return cost[steps]

        def one(what: str, at: Path, requests: Requests, steps: str, reference: str, streams: int) -> Iterator[Row]:
            yield from _case(what, at, requests, steps, streams, usual(reference))

        streams = 10_000 if scale.full else min(2_000, count // 10)
        cases: list[tuple[str, Requests, str, str, int]] = [
            ("100 shapes interleaved", _requests(_shapes(count)), "[]", "[]", 1),
            ("events of 50 KB", _requests(_large(max(20, count // 100)), 15), "[]", "[]", 1),
            ("one event a request", _requests(lines(count), 1), "[]", "[]", 1),
            ("another shape in every request", _requests(_changing(count)), "[]", "[]", 1),
            (f"{streams:,} streams of 10 events", _requests(lines(10 * streams), 1), "[]", "[]", streams),
            ("a window of one key", _requests(lines(count)), BY_ONE, BY_USER, 1),
            (
                "a throttle with one hot key",
                _requests(lines(count)),
                THROTTLE.replace("KEY", "source"),
                THROTTLE.replace("KEY", "event.user_id"),
                1,
            ),
        ]
        for number, (what, requests, steps, reference, streams) in enumerate(cases):
            yield from told(
                scale, "worst", what, partial(one, what, home / str(number), requests, steps, reference, streams)
            )


def _case(what: str, home: Path, requests: Requests, steps: str, streams: int, usual: float) -> Iterator[Row]:
    pair = (_speed(home, requests, steps, streams), usual)
    size = " (50 KB each: some 180 times the bytes)" if "KB" in what else ""
    yield compared("worst", what, [pair], note=f"reference: payments in requests of {REQUEST}{size}")


def _speed(home: Path, requests: Requests, steps: str, streams: int) -> float:
    """Events a second of CPU time, less what a drain of the first request alone takes."""
    used, counts = [], []
    first = next(requests)
    for name, given in (("one", iter([first])), ("all", itertools.chain([first], requests))):
        log = EmbeddedLogSettings(path=home / name / "log", partitions=1)
        ids = [str(UUID(int=n + 1)) for n in range(streams)]
        (home / name).mkdir(parents=True)
        file = home / name / "headrace.yaml"
        text = "".join(f"  s{n}: {{id: {one}, steps: {steps}}}\n" for n, one in enumerate(ids))
        file.write_text(
            f"log: {{embedded: {{path: {log.path}, partitions: 1}}}}\ndata: {home / name}\nstreams:\n{text}"
        )
        opened, count = open_log(log), 0
        now = now_microseconds()
        for number, events in enumerate(given):
            value = b"\n".join(events)
            opened.append(Record(ids[number % streams], new_request_id(), now, len(events), value))
            count += len(events)
        opened.close()
        counts.append(count)
        used.append(drain(file, limit=max(LIMIT_SECONDS, streams / 10)))
    return (counts[1] - counts[0]) / difference(used[1], used[0])


def _requests(events: Iterator[bytes], size: int = REQUEST) -> Requests:
    while request := list(itertools.islice(events, size)):
        yield request


def _event(**event: object) -> bytes:
    return json.dumps({"source": "bench", "event": event}, separators=(",", ":")).encode()


def _shapes(count: int) -> Iterator[bytes]:
    for number in range(count):
        kind = number % 100
        yield _event(**{f"k{kind}_{field}": number + field for field in range(8)}, name=f"n{number}", amount=number / 4)


def _changing(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield _event(**{f"field_{number // REQUEST}": number, "name": f"n{number}"}, amount=number / 4)


def _large(count: int) -> Iterator[bytes]:
    draw = random.Random(1)
    for number in range(count):
        yield _event(n=number, items=[{"id": f"i{draw.randrange(10**6)}", "note": "x" * 60} for _ in range(550)])
