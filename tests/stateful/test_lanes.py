"""Streams with a memory, from headrace.yaml to the lake: exact, whatever the processes, the crashes and the changes."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from connectors.log import Log
from tests.flows.pipelines import (
    Worker,
    append,
    drain,
    event_ids,
    landed_so_far,
    letters,
    opened,
    rows,
    until,
    write_config,
)

BEGAN = datetime(2025, 3, 1, tzinfo=UTC)
LENGTH, LATENESS, SPREAD = 60, 20, 14  # seconds; events come up to SPREAD late: that is in time

WINDOW = {
    "window": {
        "name": "w", "key": "event.k", "length": f"{LENGTH}s", "lateness": f"{LATENESS}s", "idle": "5s",
        "aggregate": {"n": "count(*)", "total": "sum(event.v)", "top": "max(event.v)"},
    }
}  # fmt: skip
EXPECTED = f"""
    SELECT id, count(*) OVER w AS n, sum(v) OVER w AS total, max(v) OVER w AS top FROM sent
    WINDOW w AS (PARTITION BY k ORDER BY t RANGE BETWEEN INTERVAL {LENGTH} SECOND PRECEDING AND CURRENT ROW)
"""


def stream(**settings: Any) -> dict[str, Any]:
    return {"streams": {"pay": {"id": "11111111-2222-4333-8444-555555555555", **settings}}}


def setup(directory: Path, *, partitions: int = 4, **settings: Any) -> Path:
    lake = {"type": "delta", "uri": str(directory / "lake" / "{stream}"), "commit_interval": "200ms"}
    log = {"embedded": {"path": str(directory / "log"), "partitions": partitions}}
    return write_config(directory, {"log": log, "destinations": {"lake": lake}, **stream(**settings)})


class Sender:
    """Sends events whose time goes on by 0.1 s each, out of order within what is in time, and some that are late."""

    def __init__(self, log: Log, seed: int) -> None:
        self._log = log
        self._dice = random.Random(seed)
        self._now = 0.0
        self.sent: list[tuple[str, str, datetime, float]] = []
        self.late: list[str] = []

    def send(self, requests: int, *, late: bool = True) -> None:
        for _ in range(requests):
            made = [self._event() for _ in range(self._dice.randint(1, 40))]
            too_late = late and self._now > 200 and self._dice.random() < 0.1
            if too_late:
                made.append(
                    {"source": "s", "timestamp": self._at(self._now - 150).isoformat(), "event": {"k": "k1", "v": 1.5}}
                )
            ids = append(self._log, made)
            if too_late:
                self.late.append(ids.pop())
                made.pop()
            for identity, event in zip(ids, made, strict=True):
                when = datetime.fromisoformat(event["timestamp"])
                self.sent.append((identity, event["event"]["k"], when, event["event"]["v"]))

    def pause(self) -> None:
        """Nothing is sent for a while: what comes next is later than all before, as silence ends the waiting for it."""
        self._now += SPREAD + 1

    def _event(self) -> dict[str, Any]:
        self._now += 0.1
        when = self._at(self._now - self._dice.uniform(0, SPREAD))
        return {
            "source": "s",
            "timestamp": when.isoformat(),
            "event": {"k": f"k{self._dice.randint(1, 7)}", "v": self._dice.randint(0, 1000) / 4},
        }

    @staticmethod
    def _at(seconds: float) -> datetime:
        return BEGAN + timedelta(milliseconds=round(seconds * 1000))

    def windows(self) -> dict[str, tuple[Any, ...]]:
        with duckdb.connect() as engine:
            engine.execute("SET TimeZone = 'UTC'")
            engine.execute("CREATE TABLE sent (id VARCHAR, k VARCHAR, t TIMESTAMPTZ, v DOUBLE)")
            engine.executemany("INSERT INTO sent VALUES (?, ?, ?, ?)", self.sent)
            return {row[0]: row[1:] for row in engine.execute(EXPECTED).fetchall()}


def windows_in(config: Any) -> dict[str, tuple[Any, ...]]:
    found = rows(config, "event_id, _late, event.w.n, event.w.total, event.w.top")
    counts = Counter(row[0] for row in found)
    assert not [identity for identity, count in counts.items() if count > 1], "doubled"
    return {row[0]: row[1:] for row in found}


def assert_exact(config: Any, sender: Sender) -> None:
    landed = windows_in(config)
    expected = {identity: (False, *values) for identity, values in sender.windows().items()}
    expected |= dict.fromkeys(sender.late, (True, None, None, None))
    assert landed.keys() == expected.keys()
    wrong = {identity: (landed[identity], value) for identity, value in expected.items() if landed[identity] != value}
    assert not wrong, list(wrong.items())[:5]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_windows_are_exact_whatever_the_processes_and_the_kills(processes: int, tmp_path: Path) -> None:
    path = setup(tmp_path, steps=[WINDOW])
    config, log = opened(path)
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    sender, dice, stop = Sender(log, seed), random.Random(seed), threading.Event()

    def feed() -> None:
        while not stop.wait(0.02):
            sender.send(1)

    feeder = threading.Thread(target=feed)
    feeder.start()
    workers: dict[int, Worker] = {}
    try:
        for _ in range(5):
            for number in range(processes):
                if number not in workers:
                    workers[number] = Worker(path, number, processes)
            time.sleep(dice.uniform(1.5, 4))  # the moment of the kill is the test's input
            for number in dice.sample(range(processes), dice.randint(1, processes)):
                workers.pop(number).kill()
    finally:
        stop.set()
        feeder.join(60)
        for worker in workers.values():
            worker.kill()
    assert sender.late
    drain(path, processes=processes)
    assert_exact(config, sender)


def test_what_a_window_held_at_a_clean_stop_goes_on_after_it(tmp_path: Path) -> None:
    path = setup(tmp_path, steps=[WINDOW])
    config, log = opened(path)
    sender = Sender(log, 5)
    for _ in range(3):
        sender.pause()
        sender.send(12)
        worker = Worker(path, 0, 1)
        worker.wait_for("ready")
        until(lambda: landed_so_far(config), what="a row")
        worker.signal(signal.SIGTERM)
        worker.wait_for("flushed")
        worker.kill()
    drain(path)
    assert_exact(config, sender)


def test_silence_brings_out_what_waits(tmp_path: Path) -> None:
    path = setup(tmp_path, steps=[WINDOW])
    config, log = opened(path)
    ids = append(log, [{"source": "s", "event": {"k": "a", "v": 2}}, {"source": "s", "event": {"k": "a", "v": 3}}])
    worker = Worker(path, 0, 1)
    try:
        until(lambda: sorted(landed_so_far(config)) == sorted(ids), what="both rows")
    finally:
        worker.kill()
    assert [row[2] for row in sorted(windows_in(config).values())] in ([2, 5], [5, 5])


@pytest.mark.parametrize(
    "second",
    [[], [WINDOW | {"window": WINDOW["window"] | {"length": "5s"}}], [{"filter": "event.v >= 0"}, WINDOW]],
    ids=["taken away", "changed", "moved"],
)
def test_a_changed_window_loses_and_doubles_nothing(second: list[Any], tmp_path: Path) -> None:
    path = setup(tmp_path, steps=[WINDOW])
    config, log = opened(path)
    sender = Sender(log, 7)
    sender.send(40, late=False)
    worker = Worker(path, 0, 1)
    until(lambda: landed_so_far(config), what="a row")
    worker.kill()
    setup(tmp_path, steps=second)
    sender.send(20, late=False)
    drain(path, processes=2)
    sender.send(20, late=False)
    drain(path, processes=2)
    setup(tmp_path, steps=[WINDOW])
    sender.send(20, late=False)
    drain(path, processes=2)
    assert sorted(event_ids(config)) == sorted(identity for identity, *_ in sender.sent)


def test_a_stream_that_gets_a_memory_reads_on_where_it_was(tmp_path: Path) -> None:
    path = setup(tmp_path)
    config, log = opened(path)
    before = [append(log, [{"source": "s", "event": {"k": "a", "v": n}}])[0] for n in range(50)]
    drain(path)
    setup(tmp_path, steps=[WINDOW])
    after = [append(log, [{"source": "s", "event": {"k": "a", "v": n}}])[0] for n in range(50)]
    drain(path, processes=2)
    assert sorted(event_ids(config)) == sorted(before + after)
    counted = {identity: (event.get("w") or {}).get("n") for identity, event in rows(config, "event_id, event")}
    assert [counted[identity] for identity in before] == [None] * 50
    assert max(counted[identity] or 0 for identity in after) == 50


def test_rollups_count_every_event_once_and_late_ones_are_dead_letters(tmp_path: Path) -> None:
    rollup = {
        "name": "per_minute", "every": "1m", "by": ["event.k"], "lateness": "20s", "idle": "5m",
        "aggregate": {"events": "count(*)", "total": "sum(event.v)"}, "to": ["lake"],
    }  # fmt: skip
    path = setup(tmp_path, rollups=[rollup])
    config, log = opened(path)
    sender = Sender(log, 3)
    for _ in range(6):
        sender.pause()
        sender.send(30)
        worker = Worker(path, 0, 1)
        worker.wait_for("ready")
        time.sleep(random.uniform(0.1, 1.5))
        worker.kill()
    closing = BEGAN + timedelta(days=1)
    last = append(log, [{"source": "s", "timestamp": closing.isoformat(), "event": {"k": "k1", "v": 1}}])
    drain(path)
    assert sender.late
    sent = last + [identity for identity, *_ in sender.sent]
    assert sorted(event_ids(config)) == sorted(sent + sender.late)
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        engine.execute("CREATE TABLE sent (id VARCHAR, k VARCHAR, t TIMESTAMPTZ, v DOUBLE)")
        engine.executemany("INSERT INTO sent VALUES (?, ?, ?, ?)", sender.sent)
        query = "SELECT time_bucket(INTERVAL 1 MINUTE, t) AS b, k, count(*), sum(v) FROM sent GROUP BY ALL ORDER BY ALL"
        expected = engine.execute(query).fetchall()
    landed = sorted(rows(config, "window_start, k, events, total", "pay_per_minute"))
    ends = rows(config, "epoch(window_end) - epoch(window_start)", "pay_per_minute")
    assert landed == expected
    assert set(ends) == {(60.0,)}
    found = letters(config)
    assert sorted(letter["event_id"] for letter in found) == sorted(sender.late)
    assert {letter["stage"] for letter in found} == {"rollup"}
    assert json.loads(found[0]["payload"])["event"]["k"] == "k1"
