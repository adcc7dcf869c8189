"""Mended and replayed in one breath, while `headrace up` runs: the events go through what was mended."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connectors.errors import HeadraceError
from flows.config import load
from headrace.dlq.taken import wait_until_taken
from tests.cli.conftest import Place, wait_for
from tests.dlq.letters import dlq, listed
from tests.flows.pipelines import write_config

PARSE = {"field": "event.line", "as": "json", "into": "event.it", "on_error": "dead_letter"}


@pytest.mark.timeout(400)
def test_a_replay_waits_for_the_configuration_that_was_just_saved(place: Place) -> None:
    def configure(*steps: dict[str, Any]) -> None:
        named = {place.made["stream"]: {"id": place.made["stream_id"], "steps": steps}}
        place.config.write_bytes(msgspec.json.encode({"streams": named}))

    configure({"parse": PARSE})
    with place.running() as up:
        body = json.dumps([{"source": "a", "event": {"n": n, "line": "{broken"}} for n in range(3)]).encode()
        assert place.post(up.url, body).status == 200
        wait_for(lambda: len(listed(place.config)) == 3, "the letters")
        configure({"parse": PARSE | {"on_error": "keep"}})
        assert "replayed 3 dead letters" in dlq(place.config, "replay")
        rows = place.wait_for_rows(3)
        assert sorted(row["event"]["n"] for row in rows) == [0, 1, 2]
        assert listed(place.config) == []


def test_a_dataflow_that_does_not_take_the_file_is_told_and_nothing_is_sent(tmp_path: Path) -> None:
    config = load(write_config(tmp_path, {}))
    state = config.data / "state"
    state.mkdir(parents=True)
    said: list[str] = []
    wait_until_taken(config, lambda: said.append("waiting"))
    assert not said, "none runs"
    (state / "accepted.yaml").write_text("streams: {}")
    with (state / "0.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(HeadraceError, match="nothing was sent"):
            wait_until_taken(config, lambda: said.append("waiting"), seconds=0.3)
        assert said == ["waiting"]
        (state / "accepted.yaml").write_bytes(config.file.read_bytes())
        wait_until_taken(config, lambda: said.append("again"), seconds=0.3)
    assert said == ["waiting"]
