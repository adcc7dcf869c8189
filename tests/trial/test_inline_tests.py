"""`tests:` in headrace.yaml and `headrace test`."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from tests.trial.conftest import Bench

PIPELINE = """
types: {event.fee: "DECIMAL(18,2)"}
steps:
  - filter: event.status IS DISTINCT FROM 'healthcheck'
  - set: {event.amount_usd: event.amount * 1.08}
routes:
  - {when: event.amount > 100, to: [siem], also: true}
  - {to: [lake]}
tests:
  - name: it
"""


def expecting(bench: Bench, given: str, expected: str) -> list[dict[str, object]]:
    """The failures of one test."""
    bench.write(f"{PIPELINE}    input: {given}\n    expect: {expected}\n")
    [result] = bench.rows("test")
    assert result["passed"] is not bool(result["failures"])
    failures = result["failures"]
    assert isinstance(failures, list)
    return failures


@pytest.mark.parametrize(
    ("event", "row"),
    [
        ("{amount: 100}", "{event.amount_usd: 108}"),
        ("{amount: 100}", "{event: {amount: 100}, _sample_rate: 1, _late: false, source: s}"),
        ("{amount: 100}", "{event.nothing: null, metadata.x: null}"),
        ("{fee: 1.5}", "{event.fee: 1.50}"),
        ("{fee: 1.255}", "{event.fee: null, _rescued.event.fee: 1.255}"),
        ("{fee: 1.255}", "{_rescued: {event.fee: 1.255}}"),
        ("{token: hush, password: hush}", "{event.token: hush}"),
        ("{a: {b c: [1, 2]}}", "{'event.a.\"b c\"': [1, 2]}"),
        ("{s: '7', t: true, n: 7}", "{event.s: '7', event.t: true, event.n: 7.0}"),
        ("{}", "{timestamp: '2025-01-01T01:00:00+01:00', date: '2025-01-01'}"),
    ],
)
def test_a_row_that_is_as_expected_passes(bench: Bench, event: str, row: str) -> None:
    assert expecting(bench, f"[{{source: s, event: {event}}}]", f"{{lake: [{row}], siem: []}}") == []


@pytest.mark.parametrize(
    ("event", "row", "path"),
    [
        ("{amount: 100}", "{event.amount_usd: 109}", "event.amount_usd"),
        ("{amount: 100}", "{event: {amount: 100, x: 1}}", "event.x"),
        ("{amount: 100}", "{event.amount: null}", "event.amount"),
        ("{s: '7'}", "{event.s: 7}", "event.s"),
        ("{n: 1}", "{event.n: true}", "event.n"),
        ("{t: true}", "{event.t: 1}", "event.t"),
        ("{l: [1, 2]}", "{event.l: [1]}", "event.l"),
        ("{n: 1}", "{_sample_rate: 0.5}", "_sample_rate"),
        ("{n: 1}", "{timestamp: '2025-01-01T00:00:01Z'}", "timestamp"),
    ],
)
def test_a_difference_names_its_destination_row_and_path(bench: Bench, event: str, row: str, path: str) -> None:
    [failure] = expecting(bench, f"[{{source: s, event: {event}}}]", f"{{lake: [{row}]}}")
    assert (failure["destination"], failure["row"], failure["path"]) == ("lake", 0, path)


def test_lists_match_in_number_and_a_destination_not_named_is_not_looked_at(bench: Bench) -> None:
    events = "[{source: s, event: {amount: 500}}, {source: s, event: {status: healthcheck}}]"
    assert expecting(bench, events, "{lake: [{}]}") == []
    [failure] = expecting(bench, events, "{lake: [{}, {}], siem: [{}]}")
    assert failure["message"] == "expected 2 rows, got 1 row"
    assert expecting(bench, events, "{siem: []}") != []


def test_rows_come_in_the_order_of_the_events(bench: Bench) -> None:
    events = "[{source: a, event: {}}, {source: b, event: {}}]"
    assert expecting(bench, events, "{lake: [{source: a}, {source: b}]}") == []
    assert len(expecting(bench, events, "{lake: [{source: b}, {source: a}]}")) == 2


def test_what_the_schema_rejects_and_what_is_no_event_are_dead_letters(bench: Bench) -> None:
    bench.write(
        """
        schema: reject
        types: {event.fee: "DECIMAL(18,2)"}
        tests:
          - name: it
            input: [{source: s, event: {fee: x}}, {event: {}}, {source: s, event: {fee: 1}}]
            expect: {lake: [{event.fee: 1}], dead_letters: [{stage: parse}, {stage: schema, destination: lake}]}
        """
    )
    [result] = bench.rows("test")
    assert result["failures"] == []


def test_a_failure_is_told_with_the_line_of_its_test_and_exits_1(bench: Bench) -> None:
    bench.write(
        """
        tests:
          - name: passes
            input: [{source: s, event: {a: 1}}]
            expect: {lake: [{event.a: 1}]}
          - name: fails & <breaks>
            input: [{source: s, event: {a: 1}}]
            expect: {lake: [{event.a: 2}], siem: []}
        """
    )
    place = next(n for n, line in enumerate(bench.config.read_text().splitlines(), 1) if "fails &" in line)
    failed = bench.run("test", "payments", "--junit", bench.directory / "r.xml")
    assert failed.exit_code == 1
    assert f"headrace.yaml:{place}:" in failed.stdout
    assert "lake[0].event.a" in failed.stdout
    assert "expected 2" in failed.stdout
    assert "1 of 2 tests failed" in failed.stderr
    [suite] = ET.parse(bench.directory / "r.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.get("name") for case in suite] == ["passes", "fails & <breaks>"]
    assert [len(case) for case in suite] == [0, 1]


def test_all_passing_exits_0_and_nothing_is_written(bench: Bench) -> None:
    bench.write("tests: [{name: it, input: [{source: s, event: {}}], expect: {lake: [{source: s}]}}]\n")
    before = set(bench.directory.iterdir())
    done = bench.run("test")
    assert (done.exit_code, done.stderr) == (0, "")
    assert set(bench.directory.iterdir()) == before


def test_a_test_of_an_unknown_destination_fails_even_when_it_expects_nothing(bench: Bench) -> None:
    bench.write("tests: [{name: it, input: [{source: s, event: {}}], expect: {seim: []}}]\n")
    [result] = bench.rows("test")
    assert result["failures"][0]["message"] == "there is no destination 'seim'"


def test_an_unknown_stream_is_named_with_those_that_there_are(bench: Bench) -> None:
    bench.write("tests: []\n")
    failed = bench.run("test", "paymints")
    assert failed.exit_code == 1
    assert "there is no stream 'paymints'" in str(failed.exception)
    assert "payments" in str(failed.exception)


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        ("[{name: x, input: {source: s}, expect: {}}]", "expected a list"),
        ("[{name: x, input: [], expect: {}, expected: {}}]", "unknown key 'expected'"),
        ("[{name: x, input: []}]", "missing: 'expect'"),
        ("[{name: '', input: [], expect: {}}]", "is empty"),
        ("[{name: x, input: [], expect: {lake: [{event..a: 1}]}}]", "not the path of a field"),
        ("[{name: x, input: [7], expect: {}}]", "expected a mapping"),
    ],
)
def test_a_malformed_test_is_a_problem_of_the_configuration(bench: Bench, tests: str, message: str) -> None:
    bench.write(f"tests: {tests}\n")
    [problem] = [problem for problem in bench.rows("check") if problem["severity"] == "error"]
    assert message in problem["message"]
    assert problem["path"].startswith("streams.payments.tests[0]")


def test_what_a_parse_sets_aside_is_a_dead_letter(bench: Bench) -> None:
    bench.write(
        """
        steps: [parse: {field: event.code, as: regex, pattern: "(?<letter>[a-z])", on_error: dead_letter}]
        tests:
          - name: it
            input: [{source: s, event: {code: a}}, {source: s, event: {code: "1"}}]
            expect: {lake: [{event.letter: a}], dead_letters: [{stage: parse, step: "steps[0].parse"}]}
        """
    )
    [result] = bench.rows("test")
    assert result["failures"] == []
