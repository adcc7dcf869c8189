"""`headrace check`: warnings about what can never happen, each at its place."""

from __future__ import annotations

import pytest

from tests.trial.conftest import Bench

USED = "routes: [{to: [lake, siem]}]\n"


def warnings(bench: Bench, stream: str, *arguments: str) -> list[tuple[str, str]]:
    """(path, message) of each warning; there is no error, and each points at what it is about."""
    bench.write(stream)
    found = bench.rows("check", *arguments)
    assert {problem["severity"] for problem in found} <= {"warning"}
    return [(problem["path"].removeprefix("streams.payments."), problem["message"]) for problem in found]


@pytest.mark.parametrize(
    "condition", ["false", "1 = 2", "event.a = NULL", "event.a > 1 AND false", "NULL", "event.a < NULL OR 'a' = 'b'"]
)
def test_a_condition_that_is_never_true_is_told(bench: Bench, condition: str) -> None:
    [(path, message)] = warnings(bench, f'steps: [{{filter: "{condition}"}}]\n{USED}')
    assert path == "steps[0].filter"
    assert "never true" in message
    [(path, _)] = warnings(bench, f'routes: [{{when: "{condition}", to: [siem]}}, {{to: [lake]}}]\n')
    assert path == "routes[0].when"


@pytest.mark.parametrize(
    "condition", ["true", "1 = 1", "event.a IS NULL", "event.a = 1 OR false", "event.a IS NOT DISTINCT FROM NULL", "1"]
)
def test_a_condition_that_can_be_true_is_not(bench: Bench, condition: str) -> None:
    assert warnings(bench, f'steps: [{{filter: "{condition}"}}]\n{USED}') == []


def test_a_route_behind_a_catch_all_is_told(bench: Bench) -> None:
    [(path, _)] = warnings(bench, "routes: [{to: [lake]}, {when: source = 'a', to: [siem]}]\n")
    assert path == "routes[1]"


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ("[set: {event.a: 1}, drop: [event.a]]", True),
        ("[set: {event.a: 1}, set: {event.a: 2}]", True),
        ("[set: {event.a.b: 1}, drop: [event.A]]", True),
        ("[set: {event.a: 1}, set: {event.b: event.a}, drop: [event.a]]", False),
        ("[set: {event.a: 1}, filter: event.a.b = 1, drop: [event.a]]", False),
        ("[set: {event.a: 1}, set: {event.a: event.a + 1}]", False),
        ("[set: {event.a: 1}, drop: [event.a.b]]", False),
        ("[set: {source: event.a}, set: {source: event.b}]", False),
    ],
)
def test_a_value_that_is_replaced_before_anything_reads_it_is_told(bench: Bench, steps: str, told: bool) -> None:
    found = warnings(bench, f"steps: {steps}\n{USED}")
    assert bool(found) is told
    assert all(path.startswith("steps[0].set.") and "in vain" in message for path, message in found)


def test_a_destination_that_no_route_names_is_told(bench: Bench) -> None:
    assert warnings(bench, "routes: [{to: [lake]}]\n") == [("destinations.siem", "no route of any stream leads here")]


def test_a_test_of_an_unknown_destination_or_of_what_is_no_event_is_told(bench: Bench) -> None:
    tests = "tests: [{name: x, input: [{event: {}}], expect: {lkae: [], dead_letters: []}}]\n"
    bench.write(tests + USED)
    event, destination = bench.rows("check")
    assert "without 'source'" in event["message"]
    assert (destination["message"], destination["suggestion"]) == (
        "unknown destination 'lkae'",
        "did you mean 'lake'?",
    )
    line = bench.config.read_text().splitlines()[destination["line"] - 1]
    assert line[destination["column"] - 1 :].startswith("lkae")


def test_a_path_that_no_event_of_the_sample_has_is_told_with_what_was_meant(bench: Bench) -> None:
    bench.write(
        """
        steps:
          - filter: event.statsu = 'a' AND source = 's'
          - set: {event.made: event.http.code}
          - filter: event.made.x = 1 AND metadata.region = 'eu' AND event.http.nope = 1
          - drop: [event.absent]
          - parse: {field: event.txt, as: json, into: event.parsed}
          - drop: [event.parsed.x]
        routes: [{when: "event.list[1] = 2", to: [siem]}, {to: [lake]}]
        """
    )
    bench.send(
        {"source": "s", "event": {"status": "a", "http": {"code": 1}, "list": [2]}, "metadata": {"region": "eu"}}
    )
    assert bench.rows("check") == []
    found = bench.rows("check", "--against", f"payments={bench.events}")
    assert [(problem["path"][16:], problem["message"].split("has ")[1]) for problem in found] == [
        (".steps[0].filter", "'event.statsu'"),
        (".steps[2].filter", "'event.http.nope'"),
        (".steps[3].drop[0]", "'event.absent'"),
        (".steps[4].parse.field", "'event.txt'"),
    ]
    assert found[0]["suggestion"] == "did you mean 'event.status'?"
    assert bench.run("check", "--against", str(bench.events)).exit_code == 0
    assert bench.run("check", "--against", "nobody=x").exit_code == 1
