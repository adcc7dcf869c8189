"""A stream that gets its first memory after a crash: its tables are then further than the dataflow has said of itself."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from tests.flows.pipelines import (
    STREAM,
    Worker,
    append,
    drain,
    event_ids,
    landed_so_far,
    letters,
    opened,
    rows,
    run_until,
    until,
    write_config,
)
from tests.snowflake.conftest import Account, account, fakesnow  # noqa: F401 -- fixtures
from tests.stateful.test_lanes import WINDOW, stream

PARSE = {"parse": {"field": "event.m", "as": "json", "into": "event.j", "on_error": "dead_letter"}}
AT_ONCE = {"lake": {"commit_interval": "100ms"}, "files": {"roll_age": "100ms", "roll_idle": "100ms"}}
HELD_BACK = {"lake": {"commit_interval": "1h"}, "files": {"roll_age": "1h"}}


def setup(directory: Path, ahead: str, *steps: Any, **more: Any) -> Path:
    """A lake, and plain files or what `more` has instead; all but `ahead` hold back what they are given."""
    lake = {"type": "delta", "uri": str(directory / "lake" / "{stream}")}
    files = {"type": "parquet", "uri": str(directory / "files" / "{stream}")}
    destinations: dict[str, Any] = {"lake": lake, **(more or {"files": files})}
    for name in AT_ONCE.keys() & destinations.keys():
        destinations[name] |= (AT_ONCE if name == ahead else HELD_BACK)[name]
    log = {"embedded": {"path": str(directory / "log"), "partitions": 4}}
    routes = [{"to": list(destinations)}]
    return write_config(directory, {"log": log, "destinations": destinations, **stream(steps=[*steps], routes=routes)})


def in_files(directory: Path) -> list[str]:
    """The event ids in the plain files, doubles included."""
    place = directory / "files" / "pay"
    if not list(place.rglob("*.parquet")):
        return []
    found = ds.dataset(place, partitioning="hive").to_table(columns=["event_id"])
    return [str(identity) for identity in found.column("event_id").to_pylist()]


def send(log: Any, count: int, first: int = 0) -> tuple[list[str], list[str]]:
    """The ids of what can be parsed, and of what cannot; of several days, so of several directories of files."""
    good, bad = [], []
    for n in range(first, first + count):
        when = f"2025-03-0{1 + n // 10}T00:00:{n:02d}Z"
        made = [{"source": "s", "timestamp": when, "event": {"k": "a", "v": n, "m": m}} for m in ("{}", "{}", "no")]
        *fine, broken = append(log, made)
        good += fine
        bad.append(broken)
    return good, bad


@pytest.mark.timeout(300)
@pytest.mark.parametrize("ahead", ["lake", "files"])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_first_window_after_a_kill_neither_doubles_nor_loses(processes: int, ahead: str, tmp_path: Path) -> None:
    path = setup(tmp_path, ahead, PARSE)
    config, log = opened(path)
    good, bad = send(log, 30)
    there = (lambda: landed_so_far(config)) if ahead == "lake" else (lambda: in_files(tmp_path))
    run_until(path, lambda: len(there()) == len(good) and len(letters(config)) == len(bad), processes=processes)
    assert not any(log.committed("headrace").values()), "nothing is committed everywhere"
    setup(tmp_path, ahead, PARSE, WINDOW)
    more = send(log, 10, first=30)
    drain(path, processes=processes)
    assert sorted(event_ids(config)) == sorted(good + more[0])
    assert sorted(in_files(tmp_path)) == sorted(good + more[0])
    assert sorted(letter["event_id"] for letter in letters(config)) == sorted(bad + more[1])
    if ahead == "files":  # the lake had none of it: its windows have been over all that the log holds
        counted = {identity: (event.get("w") or {}).get("n") for identity, event in rows(config, "event_id, event")}
        assert all(counted[identity] for identity in good)


def test_an_event_that_only_the_new_pipeline_sets_aside_is_a_dead_letter(tmp_path: Path) -> None:
    """Letters of later events are there already: that tells nothing of this one."""
    path = setup(tmp_path, "files", PARSE)
    config, log = opened(path)
    good, bad = send(log, 10)
    run_until(path, lambda: len(in_files(tmp_path)) == len(good) and len(letters(config)) == len(bad), processes=1)
    strict = {"parse": {"field": "event.k", "as": "json", "into": "event.x", "on_error": "dead_letter"}}
    setup(tmp_path, "files", PARSE, strict, WINDOW)
    drain(path)
    assert not landed_so_far(config)
    assert sorted(letter["event_id"] for letter in letters(config)) == sorted(good + bad)


@pytest.mark.timeout(300)
def test_a_table_that_cannot_be_asked_delays_itself_alone(account: Account, tmp_path: Path) -> None:  # noqa: F811
    path = setup(tmp_path, "dw", dw=account.destination())
    config, log = opened(path)
    good, bad = send(log, 10)
    ids = good + bad

    def landed() -> list[str]:
        try:
            return account.ids("pay")
        except Exception:  # noqa: BLE001 -- no table yet: nothing to see
            return []

    run_until(path, lambda: landed() == sorted(ids), processes=1)
    account.front.stop()
    setup(tmp_path, "lake", WINDOW, dw=account.destination())
    good, bad = send(log, 5, first=10)
    ids += good + bad
    worker = Worker(path, 0, 1)
    try:
        until(lambda: sorted(landed_so_far(config)) == sorted(ids), 120, what="the lake, Snowflake being away")
        until(lambda: "goes on without a destination" in worker.log, 120, what="what is said of it")
        account.front.start()
        until(lambda: len(landed()) >= len(ids), 120, what="Snowflake, once it is there")
        assert worker.alive
    finally:
        worker.kill()
    drain(path)
    assert landed() == sorted(ids)
    assert sorted(event_ids(config)) == sorted(ids)


@pytest.mark.timeout(300)
def test_a_memory_that_is_gone_before_a_table_could_be_asked_loses_nothing(account: Account, tmp_path: Path) -> None:  # noqa: F811
    """Once the stream is read without its lane, the table's offsets say nothing of what waits for it."""
    path = setup(tmp_path, "lake", dw=account.destination())
    config, log = opened(path)
    account.front.stop()
    good, bad = send(log, 10)
    ids = good + bad
    run_until(path, lambda: len(landed_so_far(config)) == len(ids), processes=2)
    setup(tmp_path, "lake", WINDOW, dw=account.destination())
    good, bad = send(log, 5, first=10)
    ids += good + bad
    run_until(path, lambda: len(landed_so_far(config)) == len(ids), processes=2)
    setup(tmp_path, "lake", dw=account.destination())
    account.front.start()
    good, bad = send(log, 10, first=15)
    ids += good + bad
    without_the_lane = Worker(path, 1 - zlib.crc32(STREAM.encode()) % 2, 2, "--drain")
    without_the_lane.wait_for("flushed")
    without_the_lane.kill()
    drain(path, processes=2)
    good, bad = send(log, 10, first=25)
    drain(path, processes=2)
    ids += good + bad
    assert account.ids("pay") == sorted(ids)
    assert sorted(event_ids(config)) == sorted(ids)
