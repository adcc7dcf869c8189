"""An expression that is too much work of itself is a problem of the file: no command that reads it waits for ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.config import InvalidConfig, check, load
from flows.config.problems import Problem
from tests.cli.conftest import run

TERABYTE = "length(replace(replace(repeat('x', 9999), 'x', repeat('y', 9999)), 'y', repeat('z', 9999)))"
YEARS = (
    "list_sum(list_transform(string_split(repeat('x', 9999), ''), x ->"
    " levenshtein(x || repeat('x', 9999), repeat('y', 9999))))"
)
IF_NULL = f"replace(coalesce(event.a, repeat('x', 9999)), 'x', {TERABYTE}::VARCHAR || repeat('y', 9999))"
FILE = f"""
streams:
  pay:
    id: a0c3b4de-1923-4ff1-8dba-f92ad912d20f
    steps:
      - set:
          event.fine: "replace(event.a, 'x', 'y') || repeat('-', 9)"
          event.huge: "{TERABYTE}"
      - filter: "{YEARS} > 0"
    rollups:
      - {{name: r, every: 1m, by: {{long: "{TERABYTE}"}}, aggregate: {{n: count(*)}}, to: [lake]}}
    routes:
      - {{when: "{IF_NULL} = 'x'", to: [lake]}}
"""
PLACES = {
    "streams.pay.steps[0].set.event.huge": 8,
    "streams.pay.steps[1].filter": 9,
    "streams.pay.rollups[0].by.long": 11,
    "streams.pay.routes[0].when": 13,
}


def test_each_is_told_at_its_place_with_what_was_too_much(write: Callable[[str], Path]) -> None:
    problems = check(write(FILE))
    assert {problem.path: problem.line for problem in problems} == PLACES
    assert all("for an event without any field" in problem.message for problem in problems)
    said = {problem.path: problem.message.split(" for ")[0] for problem in problems}
    assert said["streams.pay.steps[0].set.event.huge"] == "needed more than 512 MB"
    assert said["streams.pay.steps[1].filter"] == "took more than 5 s"


def test_one_that_makes_much_of_its_event_alone_is_well(write: Callable[[str], Path]) -> None:
    text = FILE.replace(TERABYTE, "length(replace(event.a, 'x', event.a))").replace(YEARS, "levenshtein(event.a, 'x')")
    assert check(write(text)) == []


@pytest.mark.parametrize("command", ["check", "explain pay", "preview pay --input e", "test", "run --drain"])
def test_every_command_that_reads_the_file_ends_with_it(command: str, tmp_path: Path) -> None:
    text = FILE[: FILE.index("      - filter")]
    (tmp_path / "headrace.yaml").write_text(text)
    (tmp_path / "e").write_text('{"source": "s", "event": {}}')
    failed = run(*command.split(), cwd=tmp_path)
    assert failed.returncode == 1
    assert "streams.pay.steps[0].set.event.huge: needed more than 512 MB" in failed.stdout + failed.stderr


def test_loading_raises_it(write: Callable[[str], Path]) -> None:
    text = FILE[: FILE.index("      - filter")]
    with pytest.raises(InvalidConfig) as raised:
        load(write(text))
    assert [type(problem) for problem in raised.value.problems] == [Problem]


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ("levenshtein(max(event.a), min(event.a))", "max(levenshtein(event.a, event.b)) - min(length(event.a))"),
        ("repeat(max(event.a), 9)", "max(repeat(event.a, 9))"),
        ("max(event.a) LIKE '%a%a%a%'", "max(event.a) LIKE '%a%'"),
    ],
)
@pytest.mark.parametrize("of", ["window", "rollup"])
def test_what_is_made_of_aggregates_grows_no_faster_than_they(
    outer: str, inner: str, of: str, write: Callable[[str], Path]
) -> None:
    step = "    steps: [{window: {name: w, key: event.k, length: 1m, aggregate: {n: HERE}}}]"
    rollup = "    rollups: [{name: w, every: 1m, aggregate: {n: HERE}, to: [lake]}]"
    text = FILE.split("    steps", maxsplit=1)[0] + (step if of == "window" else rollup)
    [problem] = check(write(text.replace("HERE", f'"{outer}"')))
    assert problem.path.endswith("aggregate.n")
    assert "of an aggregate cannot be used" in problem.message
    assert check(write(text.replace("HERE", f'"{inner}"'))) == []
