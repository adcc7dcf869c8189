"""A replay that is killed, at its worst moments, leaves each event once; so does a dataflow that is."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import pytest

from connectors.record import new_request_id
from tests.dlq.forked import Forked, drain, running
from tests.dlq.letters import letters, listed, replayed
from tests.flows.pipelines import STREAM, append, event_ids, landed_so_far, opened, until, write_config

MOMENTS = ("before the append", "within the append", "before the removal", "after the removal")
PARSE = {"field": "event.line", "as": "json", "into": "event.it", "on_error": "dead_letter"}


def refusing(directory: Path, log: dict[str, Any], events: int, **stream: Any) -> tuple[Path, Any, Any, list[str]]:
    """A configuration that is mended, and the ids of so many events that it had refused."""
    text = {"log": log, "streams": {"pay": {"id": STREAM, "steps": [{"parse": PARSE}], **stream}}}
    path = write_config(directory, text)
    config, opened_log = opened(path)
    batch = [{"source": "a", "event": {"line": "{broken", "n": n}} for n in range(events)]
    ids = append(opened_log, batch[:2], key="k") + append(opened_log, batch[2:])
    drain(path)
    assert sorted(row["event_id"] for row in listed(path)) == sorted(ids)
    text["streams"]["pay"]["steps"] = [{"parse": PARSE | {"on_error": "keep"}}]
    return write_config(directory, text), config, opened_log, ids


def log_of(kind: str, packing: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    if kind == "embedded":
        return {"embedded": {"packing": packing}}
    bootstrap = request.getfixturevalue("kafka")
    return {
        "kafka": {
            "bootstrap_servers": bootstrap,
            "topic": f"dlq-{new_request_id()}",
            "partitions": 2,
            "packing": packing,
        }
    }


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "packing"), [("embedded", "request"), ("kafka", "event")])
def test_a_replay_killed_at_its_worst_moments_and_run_again_sends_each_event_once(
    kind: str, packing: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    # Without a window in which repeats are known, what the command notes down is all that there is.
    stream = {"dedupe_window": "0s"} if kind == "embedded" else {}
    path, config, _, ids = refusing(tmp_path, log_of(kind, packing, request), 6, **stream)
    for moment in MOMENTS:
        command = Forked(moment, "dlq", "replay", "-c", str(path), log=tmp_path / "command.log")
        assert command.wait() == -signal.SIGKILL, moment
    replayed(path)
    drain(path)
    assert sorted(event_ids(config)) == sorted(ids)
    assert letters(config.data) == []
    assert replayed(path)["replayed"] == 0


@pytest.mark.timeout(600)
def test_a_replay_beside_a_dataflow_that_is_killed_and_another_replay_sends_each_event_once(tmp_path: Path) -> None:
    path, config, log, ids = refusing(tmp_path, {"embedded": {}}, 400, dedupe_window="0s")
    worker = running(path)
    commands = [Forked("", "dlq", "replay", "-c", str(path), log=tmp_path / f"{n}.log") for n in range(2)]
    for _ in range(2):
        until(lambda: len(landed_so_far(config)) > 0, 240, what="an event")
        worker.kill()
        worker = running(path)
    assert [command.wait() for command in commands] == [0, 0]
    worker.kill()
    others = append(log, [{"source": "a", "event": {"line": "{}", "n": random.random()}}])
    drain(path)
    assert sorted(event_ids(config)) == sorted(ids + others)
    assert letters(config.data) == []
