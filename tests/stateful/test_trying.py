"""A stream with a memory tried out: inline tests, preview and explain see what the dataflow does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.cli import app

CONFIG = """
streams:
  pay:
    id: a0c3b4de-1923-4ff1-8dba-f92ad912d20f
    steps:
      - filter: event.ok
      - window: {name: w, key: event.user, length: 1m, aggregate: {txns: count(*), total: sum(event.amount)}}
      - set: {event.many: event.w.txns > 1}
      - sample: {per: {key: event.user, events_per_second: 1}}
    rollups:
      - {name: per_minute, every: 1m, by: [event.user], aggregate: {events: count(*)}}
    routes:
      - {when: event.many, to: [lake]}
    tests:
      - name: the window counts and the rollup too
        input:
          - {source: a, timestamp: "2025-01-01T00:00:00Z", event: {ok: true, user: u, amount: 1}}
          - {source: a, timestamp: "2025-01-01T00:00:30Z", event: {ok: false, user: u, amount: 2}}
          - {source: a, timestamp: "2025-01-01T00:00:40Z", event: {ok: true, user: v, amount: 4}}
        expect:
          lake: [{event.w.txns: 1, event.w.total: 1}, {event.w.txns: 1, event.w.total: 4}]
          lake/per_minute: [{user: u, events: 1}, {user: v, events: 1}]
"""
EVENTS = [
    {"source": "a", "timestamp": "2025-01-01T00:00:05Z", "event": {"ok": True, "user": "u", "amount": 2}},
    {"source": "a", "timestamp": "2025-01-01T00:00:00Z", "event": {"ok": True, "user": "u", "amount": 1}},
    {"source": "a", "timestamp": "2025-01-01T00:00:00Z", "event": {"ok": False, "user": "u", "amount": 1}},
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "headrace.yaml").write_text(CONFIG)
    (tmp_path / "events.ndjson").write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    return tmp_path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_configuration_is_fine_and_its_tests_pass(here: Path) -> None:
    run("check")
    run("test")


def test_preview_tells_of_every_event_though_they_come_out_in_another_order(here: Path) -> None:
    events = json.loads(run("preview", "pay", "--input", "events.ndjson", "--json"))
    first, _, third = events
    assert {change["path"]: change["after"] for step in first["steps"] for change in step.get("changes", [])}[
        "event.w.txns"
    ] == 2
    assert third["steps"][-1]["result"] == "dropped"
    assert [bool(event["to"]) for event in events].count(True) == 1, "one a second is kept"


def test_explain_shows_the_window_as_the_sql_that_it_equals(here: Path) -> None:
    text = run("explain", "pay", "--input", "events.ndjson")
    assert "RANGE BETWEEN INTERVAL '60 seconds' PRECEDING AND CURRENT ROW" in text
    columns = json.loads(run("explain", "pay", "--json", "--input", "events.ndjson"))["columns"]
    assert columns["event.w.total"]
    assert columns["event.many"] == "BOOLEAN"
