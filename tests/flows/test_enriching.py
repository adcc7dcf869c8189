"""Lookups under a running dataflow: a file that changes, one that is broken, one that is not there."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from tests.flows.pipelines import STREAM, Feeder, Worker, append, drain, event_ids, opened, rows, until, write_config
from tests.flows.test_dataflow import headrace, supervisor
from tests.lookups.files import replace

KEYS = 50_000


def enriching(directory: Path) -> Path:
    """A configuration whose stream looks `event.k` up in `t.csv`."""
    steps = [{"enrich": {"lookup": "t", "on": "event.n % 100", "into": "event.t", "default": {"generation": 0}}}]
    lake = {"type": "delta", "uri": "./lake/{stream}", "commit_interval": "50ms"}
    return write_config(
        directory,
        {
            "lookups": {"t": {"file": "t.csv", "key": "k"}},
            "destinations": {"lake": lake},
            "streams": {"pay": {"id": STREAM, "steps": steps}},
        },
    )


def table(generation: int) -> str:
    return "k,generation,name\n" + "".join(f"{key},{generation},name {key}\n" for key in range(KEYS))


def landed(config: Any) -> list[tuple[Any, ...]]:
    try:
        return rows(config, "event_id, event.t.generation, event.n, event.t.name")
    except Exception:  # noqa: BLE001 -- no table yet
        return []


def test_a_file_is_taken_anew_under_load_and_each_event_lands_once_with_one_of_its_generations(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(table(1))
    config, log = opened(path := enriching(tmp_path))
    worker = Worker(path, 0, 1)
    feeder = Feeder(log, 1)
    said = tmp_path / "worker-0.log"
    try:
        worker.wait_for("ready")
        until(lambda: any(row[1] == 1 for row in landed(config)), what="the first generation")
        replace(tmp_path / "t.csv", table(2))
        until(lambda: any(row[1] == 2 for row in landed(config)), what="the second, renamed over the first")
        (tmp_path / "t.csv").write_text(table(3))
        until(lambda: any(row[1] == 3 for row in landed(config)), what="the third, written in its place")
        replace(tmp_path / "t.csv", table(4)[:-3] + '"')
        until(lambda: "is refused" in said.read_text(), what="a word about the fourth, which is broken")
        done = len(landed(config))
        until(lambda: len(landed(config)) > done + 1000, what="events beside the broken file")
    finally:
        expected = feeder.stop()
        worker_alive = worker.alive
        worker.signal(15)
        worker.wait_for("flushed")
        worker.kill()
    assert worker_alive
    replace(tmp_path / "t.csv", table(5))
    drain(path)
    assert Counter(event_ids(config)) == Counter(set(expected))
    assert {row[1] for row in landed(config)} <= {1, 2, 3, 5}
    assert all(name == f"name {number % 100}" for _, _, number, name in landed(config))
    assert said.read_text().count("is refused") == 1


def test_a_worker_that_finds_a_broken_file_is_tried_again_until_it_is_whole(tmp_path: Path) -> None:
    """What waits in the log lands then: a broken file is no reason to drop events, or to end the others' work."""
    replace(tmp_path / "t.csv", "k,generation\n1,1\n2\n")
    config, log = opened(path := enriching(tmp_path))
    expected = append(log, [{"source": "s", "event": {"n": 1}}])
    running = supervisor(path)
    said = tmp_path / "errors"
    try:
        until(lambda: said.exists() and "starting it again" in said.read_text(), what="a second try")
        assert re.search(r"the lookup 't' \(.*t.csv\) cannot be taken: row 3 has 1 columns", said.read_text())
        replace(tmp_path / "t.csv", "k,generation,name\n1,7,seven\n")
        until(lambda: [row[:2] for row in landed(config)] == [(expected[0], 7)], what="the event")
    finally:
        running.terminate()
        running.wait(60)


def test_a_file_that_is_not_there_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    path = enriching(tmp_path)
    for command in (headrace("run", path), headrace("check", path, "--json")):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 1
        assert "there is no such file" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    (problem,) = json.loads(done.stdout)
    assert (problem["path"], problem["line"] > 0) == ("lookups.t.file", True)
