"""What a changed configuration makes of events that a destination had not got yet: each is in its table or a dead letter,
never neither, and never both."""

from __future__ import annotations

import pickle
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from connectors.log import Log
from connectors.source import NEAR
from flows.config import Config, load
from flows.recovery import resume_epoch, state_directory
from tests.dlq.letters import letters, replayed
from tests.flows.pipelines import (
    STREAM,
    Worker,
    append,
    drain,
    event_ids,
    landed_so_far,
    opened,
    until,
    write_config,
)
from tests.flows.test_reload import running
from tests.replay.replays import replay

OTHER = "22222222-2222-4333-8444-555555555555"
GOOD, BAD = '{"x": 1}', "{"


def configured(directory: Path, field: str | None, **more: Any) -> Path:
    """The stream `pay`, of whose events those become dead letters whose `field` is no JSON."""
    steps = [{"parse": {"field": f"event.{field}", "as": "json", "into": "event.parsed", "on_error": "dead_letter"}}]
    lake = {"type": "delta", "uri": "./lake/{stream}", "commit_interval": "100ms"}
    text = {
        "log": {"embedded": {"partitions": 1}},
        "destinations": {"lake": lake},
        "streams": {"pay": {"id": STREAM, "steps": steps if field else []}},
    }
    return write_config(directory, text | more)


def send(log: Log, a: str, b: str) -> str:
    return append(log, [{"source": "app", "event": {"a": a, "b": b}}])[0]


def dead(path: Path) -> list[str]:
    try:
        return sorted(letter["event_id"] for letter in letters(load(path).data))
    except Exception:  # noqa: BLE001 -- no table yet
        return []


class Sent:
    """Events that the field `a` alone, `b` alone, both of them or none would make dead letters."""

    def __init__(self, log: Log) -> None:
        self.by_b = [send(log, GOOD, BAD) for _ in range(2)]
        self.by_a = [send(log, BAD, GOOD) for _ in range(2)]
        self.by_both = [send(log, BAD, BAD)]
        self.by_none = [send(log, GOOD, GOOD)]
        self.by_b.append(send(log, GOOD, BAD))

    def __iter__(self) -> Any:
        return iter([*self.by_b, *self.by_a, *self.by_both, *self.by_none])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("between", [0, NEAR + 10], ids=["near", "far"])
def test_what_was_on_its_way_before_a_kill_and_is_refused_after_it_is_a_dead_letter(
    between: int, tmp_path: Path
) -> None:
    """The dead letters have gone past it; its table has not."""
    path = configured(tmp_path, "a")
    config, log = opened(path)
    blocked = tmp_path / "lake"
    blocked.write_text("a file where a directory should be")
    sent = Sent(log)
    with ThreadPoolExecutor(16) as pool:
        good = list(pool.map(lambda _: send(log, GOOD, GOOD), range(between)))
    last = send(log, BAD, BAD)
    worker = Worker(path, 0, 1)
    try:
        until(lambda: dead(path) == sorted([*sent.by_a, *sent.by_both, last]), what="the dead letters")
    finally:
        worker.kill()
    blocked.unlink()
    configured(tmp_path, "b")
    drain(path)
    drain(path)  # and nothing comes of it again
    assert dead(path) == sorted([*sent.by_a, *sent.by_b, *sent.by_both, last])
    assert sorted(landed_so_far(config)) == sorted([*sent.by_none, *good])
    configured(tmp_path, None)
    assert replayed(path)["replayed"] == len(list(sent))
    drain(path)
    assert Counter(landed_so_far(config)) == Counter([*sent, *good, last])
    log.close()


@pytest.mark.timeout(300)
def test_what_was_on_its_way_when_a_file_was_taken_that_refuses_it_is_a_dead_letter(tmp_path: Path) -> None:
    """Again and again, while its destination is away."""
    path = configured(tmp_path, "a")
    config, log = opened(path)
    blocked = tmp_path / "lake"
    blocked.write_text("a file where a directory should be")
    with running(path) as run:
        sent = Sent(log)
        until(lambda: dead(path) == sorted([*sent.by_a, *sent.by_both]), what="the dead letters")
        for number, field in enumerate(["b", "a", "b"], 1):
            configured(tmp_path, field)
            until(lambda number=number: run.says("configuration taken") == number, what="the change")
            until(lambda: dead(path) == sorted([*sent.by_a, *sent.by_b, *sent.by_both]), what="the dead letters")
        blocked.unlink()
        until(lambda: landed_so_far(config) == sent.by_none, what="the event that nothing refused")
    assert dead(path) == sorted([*sent.by_a, *sent.by_b, *sent.by_both])
    assert landed_so_far(config) == sent.by_none
    log.close()


@pytest.mark.timeout(300)
def test_events_of_a_stream_that_is_taken_out_while_its_destination_is_away_are_dead_letters(tmp_path: Path) -> None:
    path = configured(tmp_path, "a")
    _, log = opened(path)
    blocked = tmp_path / "lake"
    blocked.write_text("a file where a directory should be")
    sent = Sent(log)
    worker = Worker(path, 0, 1)
    try:
        until(lambda: dead(path) == sorted([*sent.by_a, *sent.by_both]), what="the dead letters")
    finally:
        worker.kill()
    blocked.unlink()
    configured(tmp_path, None, streams={"other": {"id": OTHER}})
    drain(path)
    assert dead(path) == sorted(sent)
    log.close()


def kept(config: Config, log: Log) -> dict[str, int]:
    """How far each destination is, as a process that starts now finds it."""
    stores = list(state_directory(config.data, log.identity, 0, 1).glob("part-*.sqlite3"))

    def rows(query: str) -> list[tuple[Any, ...]]:
        found = []
        for store in stores:
            with (
                closing(sqlite3.connect(store)) as db,
                suppress(sqlite3.OperationalError),
            ):  # it is being made, or written
                found += db.execute(query).fetchall()
        return found

    # The ends of epochs first: of what is snapshot meanwhile the epoch has not ended, and it would not be gone on with.
    frontiers = rows("SELECT ex_num, worker_index, worker_frontier FROM fronts")
    resume = resume_epoch(rows("SELECT ex_num, worker_count, resume_epoch FROM exs"), frontiers)
    snapshots = rows("SELECT snap_epoch, ser_change FROM snaps WHERE state_key = '00000'")
    found = [(epoch, pickle.loads(change)) for epoch, change in snapshots if change and epoch < resume]
    return max([(0, {}), *(one for one in found if isinstance(one[1], dict))], key=lambda one: one[0])[1]


@pytest.mark.timeout(300)
def test_what_all_of_its_destinations_have_is_no_dead_letter_when_its_stream_is_taken_out(tmp_path: Path) -> None:
    """Another destination, of another stream, is behind, so that all is read again."""
    away = {"type": "delta", "uri": "./away/{stream}"}
    both = {"lake": {"type": "delta", "uri": "./lake/{stream}", "commit_interval": "100ms"}, "away": away}
    pay = {"id": STREAM, "routes": [{"to": ["away"]}]}
    path = configured(tmp_path, None, destinations=both, streams={"pay": pay, "other": {"id": OTHER}})
    config, log = opened(path)
    (tmp_path / "away").write_text("a file where a directory should be")
    waiting = send(log, GOOD, GOOD)
    gone = append(log, [{"source": "app", "event": {"n": n}} for n in range(3)], stream=OTHER)
    worker = Worker(path, 0, 1)
    try:
        until(lambda: kept(config, log).get("lake") == 2, what="that the lake is known to have it")
    finally:
        worker.kill()
    assert kept(config, log)["away"] == 0
    (tmp_path / "away").unlink()
    configured(tmp_path, None, destinations=both, streams={"pay": pay})
    drain(path)
    assert sorted(event_ids(config, "other")) == sorted(gone)
    assert landed_so_far(config, "away") == [waiting]
    assert dead(path) == []
    log.close()


@pytest.mark.timeout(300)
def test_what_a_changed_route_sends_past_a_destination_is_brought_there_by_a_replay(tmp_path: Path) -> None:
    lakes = {
        name: {"type": "delta", "uri": f"./{name}/{{stream}}", "commit_interval": "100ms"} for name in ("lake", "away")
    }
    routes = [{"when": "event.a = 'x'", "to": ["away"]}, {"to": ["lake"]}]
    path = configured(tmp_path, None, destinations=lakes, streams={"pay": {"id": STREAM, "routes": routes}})
    config, log = opened(path)
    (tmp_path / "away").write_text("a file where a directory should be")
    sent = [send(log, "x", GOOD), send(log, GOOD, GOOD)]
    worker = Worker(path, 0, 1)
    try:
        until(lambda: landed_so_far(config) == sent[1:], what="the event behind it")
    finally:
        worker.kill()
    (tmp_path / "away").unlink()
    configured(tmp_path, None, destinations=lakes, streams={"pay": {"id": STREAM, "routes": [{"to": ["lake"]}]}})
    drain(path)
    replay(path, "lake")
    assert Counter(landed_so_far(config)) == Counter(sent)
    log.close()
