"""Pipelines with `enrich` tried out: each command looks up what the dataflow would."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.config import load
from tests.lookups.files import replace
from tests.trial.conftest import Bench

PIPELINE = """
lookups:
  teams: {file: teams.csv, key: source}
steps:
  - filter: event.n < 3
  - enrich: {lookup: teams, on: source, into: event.team, default: {size: 0}}
  - enrich: {lookup: teams, on: event.also, into: event.also_team, fields: [name]}
routes:
  - {when: event.team.size > 5, to: [siem]}
tests:
  - name: a large team is watched
    input:
      - {source: web, event: {n: 1}}
      - {source: pay, event: {n: 2}}
      - {source: nobody, event: {n: 2}}
    expect:
      siem: [{event.team.name: Web}]
      lake: [{event.team.size: 5, event.team.name: Payments}, {event.team.size: 0, event.team.name: null}]
"""
EVENTS = (
    {"source": "web", "event": {"n": 1, "also": "pay"}},
    {"source": "nobody", "event": {"n": 2}},
    {"source": "pay", "event": {"n": 9}},
)


@pytest.fixture(autouse=True)
def _pipeline(bench: Bench) -> None:
    bench.write(PIPELINE)
    bench.send(*EVENTS)
    (bench.directory / "teams.csv").write_text("source,name,size\nweb,Web,12\npay,Payments,5\n")


def test_preview_shows_what_was_found_and_what_was_not(bench: Bench) -> None:
    web, nobody, dropped = bench.rows("preview", "payments", "--input", bench.events)
    assert web["steps"][1]["changes"] == [
        {"path": "event.team.name", "before": None, "after": "Web"},
        {"path": "event.team.size", "before": None, "after": 12},
    ]
    assert web["output"]["event"]["also_team"] == {"name": "Payments"}
    assert ([step["missed"] for step in web["steps"]], web["to"]) == ([False, False, False], ["siem"])
    assert [step["missed"] for step in nobody["steps"]] == [False, True, True]
    assert nobody["output"]["event"] == {"n": 2, "team": {"size": 0}}
    assert dropped["dropped_by"] == 0
    said = bench.run("preview", "payments", "--input", bench.events).stdout
    assert said.count("(the lookup has nothing)") == 2


def test_inline_tests_meet_the_file(bench: Bench) -> None:
    assert bench.run("test").exit_code == 0
    replace(bench.directory / "teams.csv", "source,name,size\nweb,Web,5\npay,Payments,5\n")
    done = bench.run("test")
    assert done.exit_code == 1
    assert "siem: expected 1 row, got 0 rows" in done.stdout


def test_explain_names_the_lookup(bench: Bench) -> None:
    done = bench.run("explain", "payments", "--input", bench.events)
    assert done.exit_code == 0, done.output
    assert '"lookup:teams:' in done.stdout
    assert '"event.also_team.name"' in done.stdout
    assert bench.run("explain", "payments").exit_code == 0


def test_explain_says_which_field_a_new_file_has_not(bench: Bench) -> None:
    replace(bench.directory / "teams.csv", "source,title,size\nweb,Web,5\n")
    done = bench.run("explain", "payments", "--input", bench.events)
    assert "the lookup 'teams' has no column 'name'" in done.output


def test_check_against_a_sample_knows_what_a_lookup_sets(bench: Bench) -> None:
    found = bench.rows("check", "--against", f"payments={bench.events}")
    assert found == []


@pytest.mark.parametrize("command", [("preview", "payments", "--input"), ("test",), ("explain", "payments", "--input")])
def test_a_file_that_cannot_be_taken_is_told_in_one_line(command: tuple[str, ...], bench: Bench) -> None:
    replace(bench.directory / "teams.csv", "source,name,size\nweb,Web\n")
    assert load(bench.config).streams["payments"].lookups
    done = bench.run(*command, *([bench.events] if command[-1] == "--input" else []))
    assert done.exit_code == 1
    assert "row 2 has 2 columns, the header 3" in (done.output or str(done.exception))


def test_what_a_mask_hides_of_a_lookup_is_hidden_in_a_preview(bench: Bench) -> None:
    bench.write(PIPELINE.partition("routes:")[0] + "  - mask: {event.team.name: redact}\n")
    done = bench.run("preview", "payments", "--input", bench.events, "--json")
    assert '"Web"' not in done.stdout
    assert "[redacted]" in done.stdout


def test_a_lookup_beside_the_configuration_is_found_from_anywhere(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere: Path = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    assert bench.run("test").exit_code == 0
