"""`headrace tail`, `preview --last` and `stats`, over a log that holds something."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import flows.stages
from connectors.log import EmbeddedLogSettings, Log, open_log
from connectors.record import Record, new_request_id
from flows.config import load
from flows.steps import Set
from tests.cli.conftest import environment, run, wait_for
from tests.trial.conftest import Bench

PIPELINE = """
steps:
  - filter: event.n >= 0
  - set: {event.double: event.n * 2, event.card: "'****'"}
routes: [{when: event.n > 5, to: [siem]}, {to: [lake]}]
"""
OTHER = "00000000-0000-4000-8000-000000000000"


def append(log: Log, stream: str, *numbers: int) -> None:
    """A request of events with these numbers, received at as many seconds."""
    value = "\n".join(json.dumps({"source": "s", "event": {"n": n, "card": f"card-{n:04}"}}) for n in numbers)
    log.append(Record(stream, new_request_id(), max(numbers) * 1_000_000, len(numbers), value.encode()))


@pytest.fixture
def filled(bench: Bench) -> Bench:
    """A log with the events -1 to 9, two in a request, and another stream's among them."""
    bench.write(PIPELINE)
    config = load(bench.config)
    log = open_log(config.log)
    append(log, config.streams["payments"].id, -1)
    for number in range(0, 10, 2):
        append(log, config.streams["payments"].id, number, number + 1)
        append(log, OTHER, number)
    log.close()
    return bench


def tailed(bench: Bench, *arguments: str) -> list[dict[str, object]]:
    done = bench.run("tail", "payments", "--no-follow", "--json", *arguments)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_it_shows_the_last_events_as_they_leave_the_pipeline_and_where_they_go(filled: Bench) -> None:
    rows = tailed(filled, "--last", "5")
    assert [row["event"]["n"] for row in rows] == [5, 6, 7, 8, 9]
    assert [row["to"] for row in rows] == [["lake"], *[["siem"]] * 4]
    assert rows[0]["event"]["double"] == 10


def test_the_raw_stage_has_what_a_filter_drops(filled: Bench) -> None:
    assert [row["event"]["n"] for row in tailed(filled, "--last", "100", "--stage", "raw")] == list(range(-1, 10))
    assert [row["event"]["n"] for row in tailed(filled, "--last", "100")] == list(range(10))


def test_where_chooses_at_the_stage_that_is_shown(filled: Bench) -> None:
    assert [row["event"]["n"] for row in tailed(filled, "--last", "100", "--where", "event.double > 14")] == [8, 9]
    assert tailed(filled, "--last", "100", "--where", "event.double > 14", "--stage", "raw") == []


def test_either_stage_is_masked_and_where_sees_no_more_than_is_shown(
    filled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.stages, "PROTECTING", (Set,))
    for stage in ("raw", "out"):
        shown = filled.run("tail", "payments", "--no-follow", "--stage", stage).stdout
        assert "card-0" not in shown
        assert "****" in shown
        assert tailed(filled, "--stage", stage, "--where", "event.card = 'card-0009'") == []
    assert "card-0" not in filled.run("preview", "payments", "--last", "5").stdout


@pytest.mark.parametrize("where", ["nope = 1", "read_csv('/etc/passwd')", "(SELECT 1)", "event.n >"])
def test_a_where_that_is_no_expression_over_an_event_is_refused(filled: Bench, where: str) -> None:
    failed = filled.run("tail", "payments", "--no-follow", "--where", where)
    assert failed.exit_code == 1
    assert "--where, character" in str(failed.exception)


def test_preview_takes_the_last_events_of_its_stream(filled: Bench) -> None:
    assert [row["input"]["event"]["n"] for row in filled.rows("preview", "payments", "--last", "3")] == [7, 8, 9]


def test_it_looks_as_far_back_as_it_must(bench: Bench) -> None:
    bench.write(PIPELINE)
    config = load(bench.config)
    log = open_log(EmbeddedLogSettings(path=config.data / "log", partitions=1))
    append(log, config.streams["payments"].id, 1)
    for _ in range(600):  # more than the first looks reach
        append(log, OTHER, 2)
    log.close()
    bench.config.write_text(bench.config.read_text() + "\nlog: {embedded: {partitions: 1}}\n")
    assert [row["event"]["n"] for row in tailed(bench, "--last", "1")] == [1]


WINDOW = "{window: {name: w, key: source, length: %s, aggregate: {n: count(*)}}}"


@pytest.mark.parametrize(("length", "counts"), [("1h", [9, 11, 11]), ("3s", [4, 4, 4])])
def test_a_window_is_over_what_came_before_the_first_event_that_is_shown(
    length: str, counts: list[int], filled: Bench
) -> None:
    filled.write(f"steps: [{WINDOW % length}]\nroutes: [{{to: [lake]}}]")
    done = filled.run("tail", "payments", "--no-follow", "--json", "--last", "3")
    assert done.exit_code == 0, done.output
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["event"]["n"] for row in shown] == [7, 8, 9]
    assert [row["event"]["w"]["n"] for row in shown] == counts  # the last two came at one time
    assert {tuple(row["to"]) for row in shown} == {("lake",)}
    assert "computed over what the log holds from" in done.stderr
    chosen = tailed(filled, "--last", "3", "--where", f"event.w.n = {counts[0]} AND event.n < 8")
    assert [row["event"]["n"] for row in chosen] == [7]
    assert "computed" not in filled.run("tail", "payments", "--no-follow", "--stage", "raw").stderr


def test_what_a_mask_hides_is_not_shown_of_a_stream_with_a_window(filled: Bench) -> None:
    filled.write(f"steps: [{{set: {{event.copy: event.card}}}}, {WINDOW % '1h'}, {{mask: {{event.card: redact}}}}]")
    done = filled.run("tail", "payments", "--no-follow", "--json", "--last", "3")
    assert done.exit_code == 0, done.output
    assert [json.loads(line)["event"]["w"]["n"] for line in done.stdout.splitlines()] == [9, 11, 11]
    assert "card-0" not in done.stdout


def test_a_window_goes_on_while_what_comes_is_followed(filled: Bench, tmp_path: Path) -> None:
    filled.write(f"steps: [{WINDOW % '1h'}]")
    config = load(filled.config)
    command = [sys.executable, "-m", "headrace", "tail", "payments", "--last", "1", "--json", "-c", str(filled.config)]
    output = tmp_path / "tail.txt"
    with output.open("w") as stdout:
        tail = subprocess.Popen(command, stdout=stdout, env=environment())

    def counts() -> list[int]:
        return [json.loads(line)["event"]["w"]["n"] for line in output.read_text().splitlines()]

    try:
        wait_for(lambda: counts() == [11], "the last event")
        log = open_log(config.log)
        for number in (20, 21):
            append(log, config.streams["payments"].id, number)
            wait_for(lambda number=number: len(counts()) == number - 18, "the event that came")
        log.close()
        assert counts() == [11, 12, 13]
    finally:
        tail.terminate()
        tail.wait()


def test_it_follows_what_comes(filled: Bench, tmp_path: Path) -> None:
    config = load(filled.config)
    command = [sys.executable, "-m", "headrace", "tail", "payments", "--last", "1", "-c", str(filled.config)]
    output = tmp_path / "tail.txt"
    with output.open("w") as stdout:
        tail = subprocess.Popen(command, stdout=stdout, env=environment())
    try:
        wait_for(lambda: '"n":9' in output.read_text(), "the last event")
        log = open_log(config.log)
        append(log, config.streams["payments"].id, 77)
        log.close()
        wait_for(lambda: '"n":77' in output.read_text(), "the event that came")
        assert output.read_text().count("\n") == 2
    finally:
        tail.terminate()
        tail.wait()


def test_stats_tell_what_landed_and_what_waits(filled: Bench) -> None:
    before = filled.rows("stats")
    assert {(row["destination"], row["rows"]) for row in before if row["kind"] == "destination"} == {
        ("siem", 0),
        ("lake", 0),
    }
    assert before[-1]["kind"] == "log"
    assert (before[-1]["lag"], before[-1]["records"]) == (11, 11)
    assert run("run", "--drain", cwd=filled.directory).returncode == 0
    after = filled.rows("stats")
    landed = {row["destination"]: row for row in after if row["kind"] == "destination"}
    assert (landed["siem"]["rows"], landed["lake"]["rows"]) == (4, 6)
    assert all(row["commits"] >= 1 and row["last_commit"].endswith("Z") for row in landed.values())
    assert after[-1]["lag"] == 0
    assert filled.run("stats").exit_code == 0
