"""Promise 2: after any number of kill -9 each acknowledged event is in its table once and none is missing."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.flows.pipelines import (
    Feeder,
    drain,
    event_ids,
    kill_at_random,
    landed_so_far,
    opened,
    version,
    write_config,
)
from tests.services.seaweedfs import SeaweedFS

KILLS = int(os.environ.get("HEADRACE_KILLS", "30"))


def lake_in(kind: str, directory: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A destination that commits several times a second, so that kills fall into commits."""
    if kind == "local":
        return {"type": "delta", "uri": str(directory / "lake" / "{stream}"), "commit_interval": "200ms"}
    server: SeaweedFS = request.getfixturevalue("s3")
    bucket = server.make_bucket(f"kills-{random.randrange(10**9)}")
    return {
        "type": "delta",
        "uri": f"s3://{bucket}/lake/{{stream}}",
        "endpoint": server.endpoint,
        "region": "us-east-1",
        "access_key_id": server.access_key,
        "secret_access_key": "${TEST_S3_SECRET}",
        "commit_interval": "300ms",
    }


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("log_kind", "lake_kind", "processes"),
    [("embedded", "local", 1), ("kafka", "local", 2), ("embedded", "s3", 2), ("kafka", "s3", 1)],
)
def test_killed_at_random_moments_under_load_no_event_is_lost_or_doubled(
    log_kind: str, lake_kind: str, processes: int, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: Any
) -> None:
    """Kills fall anywhere: while starting, reading, writing a file, committing, keeping state."""
    if lake_kind == "s3":
        monkeypatch.setenv("TEST_S3_SECRET", request.getfixturevalue("s3").secret_key)
    text: dict[str, Any] = {"destinations": {"lake": lake_in(lake_kind, tmp_path, request)}}
    if log_kind == "kafka":
        bootstrap = request.getfixturevalue("kafka")
        topic = f"kills-{random.randrange(10**9)}"
        text["log"] = {"kafka": {"bootstrap_servers": bootstrap, "topic": topic, "partitions": 3}}
    path = write_config(tmp_path, text)
    config, log = opened(path)
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    feeder = Feeder(log, seed)
    try:
        kills = kill_at_random(path, processes, dice, KILLS, lambda: landed_so_far(config))
    finally:
        acknowledged = feeder.stop()
    commits = version(config)
    drain(path, processes=processes)
    landed = Counter(event_ids(config))
    log.close()
    assert commits > kills / 2, "most kills came before a commit: little was tried"
    assert feeder.repeats > 0
    assert not [event for event in acknowledged if event not in landed], "lost"
    assert not [event for event, times in landed.items() if times > 1], "doubled"
    assert len(landed) == len(acknowledged)
