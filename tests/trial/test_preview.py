"""`headrace preview`: what each step did, and that no mask is undone by looking."""

from __future__ import annotations

import pytest

import flows.stages
from flows.config import load
from flows.processor import StreamProcessor, open_pipeline_engine
from flows.steps import Set
from flows.trial import example_lines
from tests.trial.conftest import Bench

PIPELINE = """
steps:
  - filter: event.status IS DISTINCT FROM 'healthcheck'
  - set: {event.amount_usd: event.amount * 2}
  - drop: [event.debug, metadata.trace]
routes:
  - {when: event.amount > 100, to: [siem], also: true}
  - {when: source = 'a', to: [lake]}
"""
EVENTS = (
    {"source": "a", "event": {"status": "healthcheck"}},
    {"source": "a", "event": {"amount": 500, "debug": {"x": [1]}, "m": "t"}, "metadata": {"trace": "t"}, "top": 1},
    {"source": "b", "event": {"amount": 5, "m": 7}},
    {"event": {}},
)


def test_each_event_tells_what_each_step_did_to_it(bench: Bench) -> None:
    bench.write(PIPELINE)
    bench.send(*EVENTS)
    health, large, small, broken = bench.rows("preview", "payments", "--input", bench.events)
    assert (health["result"], health["dropped_by"], health["to"], health["output"]) == ("dropped", 0, [], None)
    assert health["steps"][0]["rule"] == "event.status IS DISTINCT FROM 'healthcheck'"
    assert [step["result"] for step in large["steps"]] == ["kept", "changed", "changed"]
    assert large["steps"][1]["changes"] == [{"path": "event.amount_usd", "before": None, "after": 1000}]
    assert large["steps"][2]["changes"] == [
        {"path": "event.debug.x", "before": [1], "after": None},
        {"path": "metadata.trace", "before": "t", "after": None},
    ]
    assert (large["to"], large["unmatched"], large["line"]) == (["siem", "lake"], False, 2)
    assert large["output"]["event"] == {"amount": 500, "m": "t", "amount_usd": 1000}
    assert large["output"]["top"] == 1
    assert (small["to"], small["unmatched"]) == (["lake"], True)
    assert [step["result"] for step in small["steps"]] == ["kept", "changed", "kept"]
    assert (broken["result"], broken["to"]) == ("unreadable", ["dead_letters"])
    assert "source" in broken["error"]


def test_the_destinations_are_those_of_the_dataflow(bench: Bench) -> None:
    bench.write(PIPELINE)
    bench.send(*EVENTS)
    config = load(bench.config)
    stream = config.streams["payments"]
    with open_pipeline_engine() as engine:
        processor = StreamProcessor("payments", stream, "lake", engine)
        taken = processor.process(example_lines(stream.id, bench.events.read_text().splitlines(), 0))
    shown = bench.rows("preview", "payments", "--input", bench.events)
    for name in ("lake", "siem", "dead_letters"):
        assert taken[name].num_rows == sum(name in event["to"] for event in shown)


def test_a_person_reads_the_same(bench: Bench) -> None:
    bench.write(PIPELINE)
    bench.send(*EVENTS)
    done = bench.run("preview", "payments", "--input", bench.events)
    assert done.exit_code == 0
    assert "steps[0] filter: dropped by event.status IS DISTINCT FROM 'healthcheck'" in done.stdout
    assert "event.amount_usd: (absent) → 1000" in done.stdout
    assert "→ siem, lake" in done.stdout
    assert "the default: no route takes it" in done.stdout


def test_what_a_later_step_masks_is_masked_at_every_stage_and_in_every_copy(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.stages, "PROTECTING", (Set,))  # a step that replaces a value is as good as any mask
    bench.write(
        """
        steps:
          - drop: [event.z]
          - filter: event.n > 1
          - set: {event.card: "'****'", event.note: "'[e-mail]'"}
        """
    )
    card, mail = "4111111111111111", "me@example.org"
    seen = {"n": 5, "z": card, "card": card, "note": f"write {mail} now", "line": f"paid by {card}!", "l": [mail]}
    bench.send(
        {"source": "s", "event": {**seen, "number": int(card)}, "top": card},
        {"source": "s", "event": {"n": 0, "card": card, "note": mail}},
    )
    for arguments in ((), ("--json",)):
        done = bench.run("preview", "payments", "--input", bench.events, *arguments)
        assert done.exit_code == 0
        assert card not in done.stdout
        assert mail not in done.stdout
    assert "paid by ***!" in done.stdout
    kept, dropped = bench.rows("preview", "payments", "--input", bench.events)
    assert kept["steps"][2]["result"] == "changed"
    assert dropped["dropped_by"] == 1


PARSING = """
steps:
  - parse: {field: event.message, as: json, into: event.m}
  - parse: {field: event.code, as: regex, pattern: "(?<letter>[a-z])(?<rest>.*)", on_error: dead_letter}
  - parse: {field: event.pairs, as: kv, on_error: drop}
  - filter: event.m.level IS DISTINCT FROM 'debug'
"""
PARSED = (
    {"source": "a", "event": {"message": '{"level": "info", "n": 1}', "code": "a7"}},
    {"source": "b", "event": {"message": "no json", "code": "b"}},
    {"source": "c", "event": {"message": '{"level": "debug"}'}},
    {"source": "d", "event": {"code": "123"}},
)


def test_a_parse_tells_what_it_found_and_what_it_could_not_read(bench: Bench) -> None:
    bench.write(PARSING)
    bench.send(*PARSED)
    read, unread, dropped, letter = bench.rows("preview", "payments", "--input", bench.events)
    changes = {change["path"]: change["after"] for change in read["steps"][0]["changes"]}
    assert changes == {"event.m.level": "info", "event.m.n": 1}
    assert read["output"]["event"]["rest"] == "7"
    assert [(step["result"], step["failed"]) for step in unread["steps"][:2]] == [("kept", True), ("changed", False)]
    assert dropped["dropped_by"] == 3
    assert (letter["result"], letter["dropped_by"], letter["to"]) == ("dead_letter", 1, ["dead_letters"])
    done = bench.run("preview", "payments", "--input", bench.events)
    assert "its text could not be read" in done.stdout
    assert "→ dead_letters" in done.stdout


def test_what_a_field_was_parsed_from_does_not_show_what_is_masked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.stages, "PROTECTING", (Set,))
    bench.write(
        """
        steps:
          - parse: {field: event.message, as: json, into: event.m}
          - set: {event.m.card: "'****'"}
        """
    )
    bench.send({"source": "a", "event": {"message": '{"card": "4111111111111111", "n": 1}'}})
    done = bench.run("preview", "payments", "--input", bench.events, "--json")
    assert done.exit_code == 0
    assert "4111" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--input", "absent.ndjson"), 1, "cannot read"),
        ((), 2, "--input FILE and --last N"),
        (("--last", "0"), 2, "--last"),
    ],
)
def test_a_wrong_call_says_why(bench: Bench, arguments: tuple[str, ...], code: int, message: str) -> None:
    bench.write("steps: []\n")
    failed = bench.run("preview", "payments", *arguments)
    assert message in failed.stderr + str(failed.exception)
    assert failed.exit_code == code


def test_a_line_that_is_not_json_is_named(bench: Bench) -> None:
    bench.write("steps: []\n")
    bench.send({"source": "s", "event": {}}, "{nope")
    failed = bench.run("preview", "payments", "--input", bench.events)
    assert f"{bench.events}:2: not JSON" in str(failed.exception)


def test_a_json_array_is_read_too_and_an_empty_log_is_an_empty_list(bench: Bench) -> None:
    bench.write("steps: []\n")
    bench.events.write_text('[{"source": "a",\n "event": {}}, {"source": "b", "event": {}}]')
    found = bench.rows("preview", "payments", "--input", bench.events)
    assert [event["input"]["source"] for event in found] == ["a", "b"]
    assert bench.rows("preview", "payments", "--last", "5") == []
