"""Dead letters of a stream with windows and rollups: nothing is counted twice, and what comes late is late."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dlq.forked import drain
from tests.dlq.letters import letters, listed, replayed
from tests.flows.pipelines import STREAM, append, opened, rows, write_config
from tests.services.web import WebServer

WINDOW = {"name": "w", "key": "event.user", "length": "5m", "lateness": "10s", "aggregate": {"seen": "count(*)"}}
ROLLUP = {"name": "minutes", "every": "1m", "aggregate": {"events": "count(*)"}, "to": ["lake"]}
PARSE = {"field": "event.line", "as": "json", "into": "event.it", "on_error": "dead_letter"}


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.stop()


def event(minute: int, second: int, **members: Any) -> dict[str, Any]:
    at = f"2025-01-01T00:{minute:02}:{second:02}Z"
    return {"source": "a", "timestamp": at, "event": {"user": "u", "line": "{}", **members}}


@pytest.mark.timeout(600)
def test_what_a_destination_refused_is_not_counted_again(tmp_path: Path, web: WebServer) -> None:
    web.answer = lambda request: 422 if b'"bad"' in request.body else 200
    stream = {"id": STREAM, "steps": [{"window": WINDOW}], "rollups": [ROLLUP]}
    stream["routes"] = [{"to": ["lake", "hook"]}]
    path = write_config(tmp_path, {"streams": {"pay": stream}, "destinations": destinations(tmp_path, web.url)})
    config, log = opened(path)
    ids = append(log, [event(0, 0), event(0, 1, kind="bad"), event(0, 2)])
    drain(path)
    [letter] = listed(path)
    assert (letter["event_id"], letter["destination"]) == (ids[1], "hook")
    web.answer = lambda _request: 200
    refused = len(web.requests)
    assert replayed(path)["replayed"] == 1
    later = append(log, [event(0, 3)])
    drain(path)
    seen = dict(rows(config, "event_id, event.w.seen"))
    assert seen == dict(zip([*ids, *later], [1, 2, 3, 4], strict=True)), "once each, and counted once"
    assert sum(count for (count,) in rows(config, "events", "pay_minutes")) + len(letters(config.data)) == 4
    sent = [event for request in web.requests[refused:] for event in json.loads(request.body)]
    made = [one["event"]["w"]["seen"] for one in sent if one["event_id"] == ids[1]]
    assert set(made) == {2}, "what its window had made of it"


@pytest.mark.timeout(600)
def test_an_event_set_aside_comes_late_and_holds_nobody_up(tmp_path: Path) -> None:
    stream: dict[str, Any] = {"id": STREAM, "steps": [{"parse": PARSE}, {"window": WINDOW}], "rollups": [ROLLUP]}
    path = write_config(tmp_path, {"streams": {"pay": stream}})
    config, log = opened(path)
    ids = append(log, [event(0, 0), event(0, 1, line="{broken"), event(9, 0)])
    drain(path)
    assert [row["event_id"] for row in listed(path)] == [ids[1]]
    stream["steps"][0] = {"parse": PARSE | {"on_error": "keep"}}
    path = write_config(tmp_path, {"streams": {"pay": stream}})
    assert replayed(path)["replayed"] == 1
    later = append(log, [event(9, 1)])
    drain(path)
    landed = {row[0]: row[1:] for row in rows(config, "event_id, _late, event.w.seen")}
    assert landed == {ids[0]: (False, 1), ids[1]: (True, None), ids[2]: (False, 1), later[0]: (False, 2)}
    late = listed(path)  # the last one too: the windows were over by the clock
    assert ids[1] in [row["event_id"] for row in late]
    assert {row["stage"] for row in late} == {"rollup"}
    report = replayed(path, code=1)
    assert report["replayed"] == 0
    assert "late for a rollup" in report["not_replayed"][0]["reason"]
    assert listed(path) == late


def destinations(directory: Path, url: str) -> dict[str, Any]:
    return {
        "lake": {"type": "delta", "uri": str(directory / "data" / "lake" / "{stream}")},
        "hook": {"type": "http", "url": url},
    }
