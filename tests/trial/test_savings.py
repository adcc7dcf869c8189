"""`headrace preview --summary`: what each step takes away, in events and bytes."""

from __future__ import annotations

import json

from tests.trial.conftest import Bench

PIPELINE = """
steps:
  - filter: event.status IS DISTINCT FROM 'healthcheck'
  - drop: [event.debug]
  - parse: {field: event.order, as: json, on_error: dead_letter}
routes:
  - {when: event.amount > 100, to: [siem], also: true}
  - {to: [lake]}
"""
STAMP = "2025-01-01T00:00:00Z"
HEALTH = {"timestamp": STAMP, "source": "a", "event": {"status": "healthcheck"}}
LARGE = {"timestamp": STAMP, "source": "a", "event": {"amount": 500, "debug": "x" * 100}}
SMALL = {"timestamp": STAMP, "source": "b", "event": {"amount": 5}}
CUT = {"timestamp": STAMP, "source": "b", "event": {"order": '{"id": '}}


def size(event: object) -> int:
    return len(json.dumps(event, separators=(",", ":"))) + 1


def test_each_step_tells_what_it_took_away(bench: Bench) -> None:
    bench.write(PIPELINE)
    bench.send(HEALTH, LARGE, SMALL, CUT, {"event": {}})
    *steps, whole, letters, lake, siem = bench.rows("preview", "payments", "--input", bench.events, "--summary")
    sent, lean = size(LARGE), size({**LARGE, "event": {"amount": 500}})
    rest = size(SMALL) + size(CUT)
    assert [(s["name"], s["events_in"], s["events_out"], s["bytes_in"], s["bytes_out"]) for s in steps] == [
        ("filter", 4, 3, size(HEALTH) + sent + rest, sent + rest),
        ("drop", 3, 3, sent + rest, lean + rest),
        ("parse", 3, 2, lean + rest, lean + size(SMALL)),
    ]
    assert (whole["events_in"], whole["events_out"], whole["bytes_in"]) == (4, 2, size(HEALTH) + sent + rest)
    assert whole["bytes_out"] == lean + size(SMALL)
    assert letters == {"kind": "destination", "name": "dead_letters", "events": 1, "bytes": size(CUT)}
    assert lake == {"kind": "destination", "name": "lake", "events": 2, "bytes": lean + size(SMALL)}
    assert siem == {"kind": "destination", "name": "siem", "events": 1, "bytes": lean}


def test_a_person_gets_a_table_that_shows_no_event(bench: Bench) -> None:
    bench.write(PIPELINE)
    bench.send(HEALTH, LARGE)
    shown = bench.run("preview", "payments", "--input", bench.events, "--summary")
    assert shown.exit_code == 0
    assert "steps[0] filter" in shown.stdout
    assert "→ siem: 1 events" in shown.stdout
    assert "xxx" not in shown.stdout


def test_no_events_are_a_summary_too(bench: Bench) -> None:
    bench.write(PIPELINE)
    bench.send({"event": {}})
    [whole] = bench.rows("preview", "payments", "--input", bench.events, "--summary")
    assert (whole["kind"], whole["events_in"], whole["bytes_out"]) == ("pipeline", 0, 0)
