"""A replay that is killed again and again, beside a dataflow that works: nothing lost, nothing doubled, nobody fenced."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import HEADRACE, environment
from tests.flows.pipelines import (
    Feeder,
    Worker,
    append,
    event_ids,
    landed_so_far,
    opened,
    rows,
    until,
    write_config,
)
from tests.flows.test_kills import lake_in
from tests.replay.replays import live

KILLS = 4
PAD = "x" * 4000  # so that a partition is several batches


def start(config: Path, *arguments: str) -> subprocess.Popen[bytes]:
    errors = (config.parent / "replay.log").open("ab")
    command = [*HEADRACE, "replay", "pay", "--config", str(config), "--json", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment())


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("log_kind", "lake_kind"), [("embedded", "s3"), ("kafka", "local")])
def test_killed_in_the_middle_beside_a_live_dataflow_each_event_is_there_once(
    log_kind: str, lake_kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: Any
) -> None:
    if lake_kind == "s3":
        monkeypatch.setenv("TEST_S3_SECRET", request.getfixturevalue("s3").secret_key)
    text: dict[str, Any] = {"destinations": {"lake": lake_in(lake_kind, tmp_path, request)}}
    if log_kind == "kafka":
        topic = f"replays-{random.randrange(10**9)}"
        text["log"] = {
            "kafka": {"bootstrap_servers": request.getfixturevalue("kafka"), "topic": topic, "partitions": 3}
        }
    stream = {"id": "11111111-2222-4333-8444-555555555555"}
    path = write_config(tmp_path, text | {"streams": {"pay": stream | {"steps": [{"filter": "event.n % 10 = 0"}]}}})
    config, log = opened(path)
    acknowledged = []
    for first in range(0, 10_000, 20):
        numbers = range(first, first + 20)
        key = f"first-{first}" if first % 100 == 0 else None
        lines = [{"source": "app", "event": {"n": n, "pad": PAD}} for n in numbers]
        acknowledged += append(log, lines, key=key)
    live(path)
    assert len(event_ids(config)) == 1_000
    write_config(tmp_path, text | {"streams": {"pay": stream}})  # everything is kept now
    worker = Worker(path, 0, 1)
    worker.wait_for("ready")
    feeder = Feeder(log, random.randrange(10**6), pause=0.1)
    kills = 0
    try:
        while kills < KILLS:
            before = old_rows(config)
            running = start(path, "--into", "lake", "--to", "2100-01-01T00:00:00Z")
            until(lambda was=before, now=running: now.poll() is not None or old_rows(config) > was, 120, what="rows")
            if running.poll() is not None:
                assert running.returncode == 0, (tmp_path / "replay.log").read_text()[-3000:]
                break
            running.kill()
            running.wait()
            kills += 1
        last = start(path, "--into", "lake", "--to", "2100-01-01T00:00:00Z")
        told, _ = last.communicate(timeout=240)
        assert last.returncode == 0, (tmp_path / "replay.log").read_text()[-3000:]
        assert worker.alive, "the dataflow was fenced"
    finally:
        acknowledged += feeder.stop()
        worker.kill()
    assert json.loads(told)["finished"]
    live(path)
    landed = Counter(event_ids(config))
    log.close()
    assert kills > 1, "the replay was over before it could be killed"
    assert not [event for event in acknowledged if event not in landed], "lost"
    assert not [event for event, times in landed.items() if times > 1], "doubled"
    assert len(landed) == len(acknowledged)


def old_rows(config: Any) -> int:
    """How many of the first events have landed: those of the feeder have no `pad`."""
    try:
        return len(rows(config, "event_id", "pay", where="event['pad'] IS NOT NULL"))
    except Exception:  # noqa: BLE001 -- its server is busy: nothing to see yet
        return 0


def test_interrupted_it_commits_says_how_to_go_on_and_goes_on(tmp_path: Path) -> None:
    copy = {"type": "delta", "uri": str(tmp_path / "copy" / "{stream}"), "commit_interval": "100ms"}
    path = write_config(tmp_path, {"destinations": {"lake": copy | {"uri": "lake/{stream}"}, "copy": copy}})
    config, log = opened(path)
    ids = []
    for first in range(0, 4_000, 10):
        ids += append(log, [{"source": "app", "event": {"n": n, "pad": PAD}} for n in range(first, first + 10)])
    running = start(path, "--into", "copy")
    until(lambda: landed_so_far(config, "copy"), 120, what="the first rows")
    running.send_signal(signal.SIGINT)
    told, _ = running.communicate(timeout=120)
    first = json.loads(told)
    if first["finished"]:
        pytest.skip("it was over before the signal came")
    assert running.returncode == 130
    assert "the same command goes on where it was: headrace replay pay" in (tmp_path / "replay.log").read_text()
    again, _ = start(path, "--into", "copy").communicate(timeout=120)
    second = json.loads(again)
    assert second["finished"]
    assert first["written"] + second["written"] == len(ids)
    assert Counter(landed_so_far(config, "copy")) == Counter(ids)
