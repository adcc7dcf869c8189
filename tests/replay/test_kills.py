"""`headrace replay` that is killed and interrupted, again and again, and run again: each event once in the destination."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from flows.config import load
from tests.cli.conftest import HEADRACE, environment
from tests.flows.pipelines import STREAM, Feeder, Worker, append, event_ids, rows, until, write_config
from tests.replay.replays import live, log_of, replay

KILLS = int(os.environ.get("HEADRACE_KILLS", "30")) // 6
REQUESTS, EVENTS = 150, 200
SHARES = 40
PARSE = {"parse": {"field": "event.text", "as": "json", "into": "event.parsed", "on_error": "dead_letter"}}
KINDS = {"copy": "delta", "files": "parquet"}


def configured(directory: Path, steps: list[dict[str, Any]]) -> Path:
    """All events go to `lake`; no route names `copy` and `files`."""
    made = {
        name: {"type": kind, "uri": str(directory / name / "{stream}")}
        for name, kind in (KINDS | {"lake": "delta"}).items()
    }
    for name in ("copy", "lake"):
        made[name]["commit_interval"] = "100ms"
    return write_config(directory, {"destinations": made, "streams": {"pay": {"id": STREAM, "steps": steps}}})


def fill(config: Path, requests: int = REQUESTS) -> list[str]:
    """Appends events, of which each fiftieth has no JSON in its text; the ids of all."""
    log = log_of(config)
    sent = [
        one
        for number in range(requests)
        for one in append(
            log,
            [
                {"source": "a", "event": {"n": number, "share": i % SHARES, "text": "{" if i % 50 == 7 else '{"a": 1}'}}
                for i in range(EVENTS)
            ],
        )
    ]
    log.close()
    return sent


def landed(config: Path, into: str) -> Counter[str]:
    if KINDS[into] != "parquet":
        return Counter(row[0] for row in rows(load(config), "event_id", destination=into))
    files = (config.parent / into / "pay").glob("date=*/*.parquet")
    return Counter(one for file in files for one in pq.ParquetFile(file).read(["event_id"])["event_id"].to_pylist())


def letters(config: Path) -> Counter[str]:
    table = DeltaTable(str(load(config).data / "dead_letters"))
    return Counter(pa.table(table.scan(columns=["event_id"]))["event_id"].to_pylist())


def written(config: Path, into: str) -> int:
    """How many commits to the destination were a replay's."""
    if KINDS.get(into) == "parquet":
        return sum(1 for _ in (config.parent / into).rglob("*.parquet"))
    entries = (config.parent / into / "pay" / "_delta_log").glob("*.json")
    return sum("%2Freplay%2F" in entry.read_text() for entry in entries)


def disturb(config: Path, into: str, dice: random.Random, more: Callable[[], Any]) -> None:
    """Runs the command until it has been ended KILLS times, by kill -9 and by Ctrl-C, and then to its end.

    At least half as often it is ended between a commit of its own and its end. Where it ends by itself `more` gives it
    something to do again.
    """
    command = [*HEADRACE, "replay", "pay", "--config", str(config), "--into", into]
    ended = 0
    within = 0  # after a commit of its own and before its end
    while ended < KILLS or within < KILLS // 2:
        before = written(config, into)
        with (config.parent / "replay.log").open("ab") as errors:
            process = subprocess.Popen(command, env=environment(), stdout=errors, stderr=errors)
        if dice.random() < 0.2:
            time.sleep(dice.uniform(0.1, 2.5))  # the moment is the test's input: here mostly while it starts
        else:
            until(lambda: written(config, into) > before or process.poll() is not None, what="a commit")  # noqa: B023
            time.sleep(dice.uniform(0, 0.3))
        how = signal.SIGINT if ended % 3 == 2 and written(config, into) > before else signal.SIGKILL
        process.send_signal(how)
        code = process.wait(60)
        if code == 0:
            more()
            continue
        within += written(config, into) > before
        ended += 1
        if how == signal.SIGINT:
            assert code == 130, (config.parent / "replay.log").read_text()[-3000:]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(600)
@pytest.mark.parametrize("into", KINDS)
def test_a_new_table_has_each_event_once(into: str, tmp_path: Path) -> None:
    config = configured(tmp_path, [PARSE])
    sent = fill(config)
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    disturb(config, into, random.Random(seed), lambda: sent.extend(fill(config)))
    there, dead = landed(config, into), letters(config)
    assert set(there.values()) == set(dead.values()) == {1}
    assert not there.keys() & dead.keys()
    assert len(dead) == len(sent) // 50
    assert there.keys() | dead.keys() == set(sent)


@pytest.mark.timeout(600)
def test_beside_a_dataflow_that_brings_events_to_the_same_table_each_is_there_once(tmp_path: Path) -> None:
    """What the pipeline had filtered away it keeps, share by share, while events come that it always keeps."""
    shares = 0

    def keep_more() -> None:
        nonlocal shares
        shares += 1
        configured(tmp_path, [{"filter": f"event.share IS NULL OR event.share < {shares}"}])

    keep_more()
    config = tmp_path / "headrace.yaml"
    sent = fill(config)
    live(config)
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    log = log_of(config)
    worker = Worker(config, 0, 1)
    feeder = Feeder(log, seed, pause=0.05)
    try:
        worker.wait_for("ready")
        keep_more()
        disturb(config, "lake", random.Random(seed), keep_more)
        configured(tmp_path, [])
        assert replay(config, "lake").finished
        reached = len(feeder.acknowledged)
        until(lambda: len(feeder.acknowledged) > reached + 100, what="more events")
        assert worker.alive, "the dataflow was fenced"
    finally:
        sent += feeder.stop()
        worker.kill()
    live(config)
    there = Counter(event_ids(load(config)))
    assert set(there.values()) == {1}
    assert there.keys() == set(sent)
    log.close()
