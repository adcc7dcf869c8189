"""A replay as a person has it, within the test's process or as a command; and a log with records of chosen times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from connectors.log import Log, open_log
from connectors.record import Record, keyed_request_id, new_request_id, now_microseconds
from connectors.source import Stop
from flows.config import load
from flows.destinations import open_writers
from flows.graph import wire
from flows.replay.account import Account
from flows.replay.drain import Drain, Floors
from flows.replay.places import read_place
from flows.replay.plan import Asked
from flows.replay.run import Replay
from tests.flows.pipelines import STREAM

NOON = 1_770_897_600_000_000  # 2026-02-12T12:00:00Z
MINUTE = 60_000_000


def replay(config: Path, into: str, begin: str | None = None, end: str | None = None, **more: Any) -> Account:
    """`headrace replay pay --into … [--from …] [--to …]`, in this process."""
    now = now_microseconds()
    places = [None if text is None else read_place(text, now) for text in (begin, end)]
    return Replay(load(config), Asked("pay", into, begin, end, *places, **more)).run()


def live(config: Path, *, stop_at_once: bool = False) -> None:
    """What `headrace run --drain` does, in this process: a process of its own takes seconds to start.

    With `stop_at_once` it is stopped when all has been read: what waits for silence stays in its state.
    """
    loaded = load(config)
    log = open_log(loaded.log)
    ends = {partition: end for partition, (_, end) in log.bounds().items()}
    stop = Stop(ends)
    parts = wire(loaded, log, stop, open_writers(loaded, log))

    def look() -> None:
        if stop_at_once and log.committed("headrace") == ends and log.committed("headrace.pay") == ends:
            stop.request()

    work = Drain(parts, Floors(loaded.data / "state" / "floors.json"), stop, seen=lambda _: None, tell=look)
    work.run()
    work.close()
    log.close()


def receive(log: Log, events: Sequence[dict[str, Any]], at: int, *, key: str | None = None) -> list[str]:
    """Appends one request that was received at a time; the ids of its events."""
    request = new_request_id() if key is None else keyed_request_id(STREAM, key)
    value = "\n".join(json.dumps(event) for event in events).encode()
    log.append(Record(STREAM, request, at, len(events), value))
    return [f"{request}-{index}" for index in range(len(events))]


def events(first: int, count: int) -> list[dict[str, Any]]:
    """Events of the source `app`, numbered."""
    return [{"source": "app", "event": {"n": n}} for n in range(first, first + count)]


def log_of(config: Path) -> Log:
    return open_log(load(config).log)
