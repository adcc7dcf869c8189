"""Replays of streams with a memory: windows, rollups and samples over the replayed part, the dataflow's own left alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from flows.config import load
from tests.flows.pipelines import STREAM, rows, write_config
from tests.replay.replays import MINUTE, NOON, live, log_of, receive, replay

WINDOW = {
    "window": {"name": "seen", "key": "event.u", "length": "2m", "lateness": "1m", "aggregate": {"events": "count(*)"}}
}
ROLLUP = {"name": "per_minute", "every": "1m", "aggregate": {"events": "count(*)"}, "to": ["lake"]}


def lakes(directory: Path, stream: dict[str, Any]) -> Path:
    made = {name: {"type": "delta", "uri": str(directory / name / "{stream}")} for name in ("lake", "copy")}
    return write_config(directory, {"destinations": made, "streams": {"pay": {"id": STREAM} | stream}})


def at(minute: int, user: str = "u", count: int = 1) -> list[dict[str, Any]]:
    """Events whose own time is a minute after noon."""
    return [{"source": "a", "timestamp": f"2026-02-12T12:{minute:02d}:00Z", "event": {"u": user}}] * count


def seen(config: Path, destination: str) -> list[tuple[str, int]]:
    found = rows(load(config), "strftime(timestamp, '%M'), event.seen.events", destination=destination)
    return sorted(found)  # type: ignore[arg-type]


def windows(config: Path, destination: str) -> list[tuple[str, int]]:
    found = rows(load(config), "strftime(window_start, '%M'), events", "pay_per_minute", destination)
    return sorted(found)  # type: ignore[arg-type]


def test_a_window_sees_the_replayed_events_and_those_alone(tmp_path: Path) -> None:
    config = lakes(tmp_path, {"steps": [WINDOW]})
    log = log_of(config)
    for minute in range(6):
        receive(log, at(minute), NOON + minute * MINUTE)
    live(config)
    whole = seen(config, "lake")
    assert whole == [("00", 1), ("01", 2), ("02", 3), ("03", 3), ("04", 3), ("05", 3)]
    replay(config, "copy", "2026-02-12T12:02:00Z")
    assert seen(config, "copy") == [("02", 1), ("03", 2), ("04", 3), ("05", 3)]
    assert replay(config, "lake").written == 0  # the lane of the dataflow and its table are as they were
    receive(log, at(6), NOON + 6 * MINUTE)
    live(config)
    assert seen(config, "lake") == [*whole, ("06", 3)]


def test_a_rollup_fills_in_the_windows_that_its_table_lacks(tmp_path: Path) -> None:
    config = lakes(tmp_path, {"steps": [WINDOW]})
    log = log_of(config)
    for minute in range(4):
        receive(log, at(minute, count=minute + 1), NOON + minute * MINUTE)
    live(config)
    lakes(tmp_path, {"steps": [WINDOW], "rollups": [ROLLUP]})
    for minute in range(4, 6):
        receive(log, at(minute, count=minute + 1), NOON + minute * MINUTE)
    live(config)
    assert windows(config, "lake") == [("04", 5), ("05", 6)]
    done = replay(config, "lake")
    assert (done.written, done.rollup_rows) == (0, 4)
    assert windows(config, "lake") == [(f"{minute:02d}", minute + 1) for minute in range(6)]
    assert replay(config, "lake", "offset:0").rollup_rows == 0


def test_what_the_lane_still_holds_is_left_to_it(tmp_path: Path) -> None:
    """Events that wait for their window's lateness when the dataflow stops are in its store, not in the table."""
    config = lakes(tmp_path, {"steps": [WINDOW]})
    log = log_of(config)
    from connectors.record import format_instant, now_microseconds

    now = now_microseconds()
    for second in range(4):
        event = {"source": "a", "timestamp": format_instant(now + second * 1_000_000), "event": {"u": "u"}}
        receive(log, [event], now + second * 1_000_000)
    live(config, stop_at_once=True)
    held = len(rows(load(config), "event_id")) if (tmp_path / "lake").exists() else 0
    assert held < 4, "nothing was held"
    done = replay(config, "lake")
    live(config)
    landed = Counter(row[0] for row in rows(load(config), "event_id"))
    assert len(landed) == 4, done
    assert set(landed.values()) == {1}


def test_a_destination_of_rollups_alone_gets_rollups_alone(tmp_path: Path) -> None:
    config = lakes(tmp_path, {"rollups": [ROLLUP | {"to": ["copy"]}]})
    log = log_of(config)
    for minute in range(3):
        receive(log, at(minute), NOON + minute * MINUTE)
    live(config)
    before = windows(config, "copy")
    done = replay(config, "copy")
    assert (done.written, done.rollup_rows) == (0, 0)
    assert windows(config, "copy") == before
    assert not (tmp_path / "copy" / "pay").exists()
