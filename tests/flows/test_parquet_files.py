"""Plain Parquet as an operator has it: a headrace.yaml, processes that are killed, a directory that analysts read."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from pyarrow.fs import S3FileSystem

from tests.flows.pipelines import Feeder, append, drain, kill_at_random, opened, write_config
from tests.services.seaweedfs import SeaweedFS

KILLS = int(os.environ.get("HEADRACE_KILLS", "30"))


class Place:
    """Where the files go: a directory, or a bucket of a real S3 server."""

    def __init__(self, directory: Path, server: SeaweedFS | None) -> None:
        self._files: Any = None
        # Files several times a second, so that kills fall into their writing.
        self.settings = {"type": "parquet", "roll_age": "300ms", "roll_idle": "100ms"}
        if server is None:
            self._root = str(directory / "raw" / "pay")
            self.settings |= {"uri": str(directory / "raw" / "{stream}")}
            return
        bucket = server.make_bucket(f"files-{random.randrange(10**9)}")
        self._root = f"{bucket}/raw/pay"
        self._files = S3FileSystem(
            endpoint_override=server.endpoint, access_key=server.access_key, secret_key=server.secret_key
        )
        self.settings |= {
            "uri": f"s3://{bucket}/raw/{{stream}}",
            "endpoint": server.endpoint,
            "region": "us-east-1",
            "access_key_id": server.access_key,
            "secret_access_key": "${TEST_S3_SECRET}",
        }

    def ids(self) -> list[str]:
        """The event ids in all files, doubles included; none before the first file."""
        try:
            found = ds.dataset(self._root, filesystem=self._files, partitioning="hive")
        except FileNotFoundError:
            return []
        return found.to_table(columns=["event_id"]).column("event_id").to_pylist() if found.files else []


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "processes"), [("local", 1), ("local", 2), ("s3", 2)])
def test_killed_at_random_moments_no_event_is_lost_or_doubled(
    kind: str, processes: int, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: Any
) -> None:
    server = request.getfixturevalue("s3") if kind == "s3" else None
    if server is not None:
        monkeypatch.setenv("TEST_S3_SECRET", server.secret_key)
    place = Place(tmp_path, server)
    path = write_config(tmp_path, {"destinations": {"lake": place.settings}})
    _, log = opened(path)
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    feeder = Feeder(log, seed)
    try:
        kill_at_random(path, processes, dice, KILLS, place.ids)
    finally:
        acknowledged = feeder.stop()
    before = len(place.ids())
    drain(path, processes=processes)
    landed = Counter(place.ids())
    log.close()
    assert before > 0, "nothing was written between kills: little was tried"
    assert not [event for event in acknowledged if event not in landed], "lost"
    assert not [event for event, times in landed.items() if times > 1], "doubled"
    assert len(landed) == len(acknowledged)


def test_files_and_a_table_beside_each_other_get_the_same_events(tmp_path: Path) -> None:
    place = Place(tmp_path, None)
    lake = {"type": "delta", "uri": str(tmp_path / "lake" / "{stream}")}
    routes = [{"to": ["files"], "also": True, "when": "event.n % 2 = 0"}, {"to": ["lake"]}]
    text = {
        "destinations": {"lake": lake, "files": place.settings},
        "streams": {"pay": {"id": "11111111-2222-4333-8444-555555555555", "routes": routes}},
    }
    path = write_config(tmp_path, text)
    _, log = opened(path)
    sent = append(log, [{"source": "app", "event": {"n": n}} for n in range(10)])
    drain(path)
    drain(path)
    log.close()
    assert sorted(place.ids()) == sorted(sent[::2])
