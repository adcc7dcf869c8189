"""The destination `stdout`: events as lines of JSON on the standard output of the command that was run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from connectors.log import open_log
from flows.config import load
from tests.cli.conftest import HEADRACE, Place, environment, run, wait_for
from tests.flows.pipelines import append


@pytest.fixture
def printing(place: Place) -> Place:
    """A place whose stream goes to stdout."""
    settings = yaml.safe_load(place.config.read_text())
    [stream] = settings["streams"].values()
    stream["routes"] = [{"to": ["out"]}]
    settings["destinations"] = {"out": {"type": "stdout"}}
    place.config.write_text(yaml.safe_dump(settings))
    return place


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_run_prints_every_event_whole_whatever_the_number_of_processes(printing: Place) -> None:
    log = open_log(load(printing.config).log)
    expected: list[str] = []
    for n in range(40):
        big = {"source": "a", "event": {"n": n, "text": "x" * 20_000}}  # more than a pipe takes in one piece
        expected += append(log, [big] * 10, stream=printing.made["stream_id"])
    done = run("run", "--drain", "--processes", "2", cwd=printing.directory)
    assert done.returncode == 0, done.stderr
    assert sorted(str(line["event_id"]) for line in lines(done.stdout)) == sorted(expected)
    others = [line for line in done.stdout.splitlines() if not line.startswith("{")]
    assert [line.split()[0] for line in others] == ["ready"]


def test_up_prints_events_beside_its_ready_line(printing: Place) -> None:
    with printing.running() as up:
        assert printing.post(up.url, b'{"source": "test", "event": {"n": 1}}').status == 200
        wait_for(lambda: lines(up.output.read_text()), "the event")
        assert up.stop() == 0
    [line] = lines(up.output.read_text())
    assert (line["source"], line["event"]) == ("test", {"n": 1})


def test_a_reader_that_goes_away_does_not_lose_events(printing: Place) -> None:
    log = open_log(load(printing.config).log)
    expected = append(log, [{"source": "a", "event": {"n": 1}}], stream=printing.made["stream_id"])
    reading, writing = os.pipe()
    os.close(reading)
    errors = Path(printing.directory) / "errors.log"
    with errors.open("w") as output:
        process = subprocess.Popen(
            [*HEADRACE, "run"],
            cwd=printing.directory,
            env=environment(),
            stdout=writing,
            stderr=output,
            process_group=0,
        )
    os.close(writing)
    wait_for(lambda: "stdout cannot be written" in errors.read_text() or process.poll() is not None, "word of it")
    if process.poll() is None:
        process.kill()
        process.wait()
    done = run("run", "--drain", cwd=printing.directory)
    assert [str(line["event_id"]) for line in lines(done.stdout)] == expected, sys.stderr
