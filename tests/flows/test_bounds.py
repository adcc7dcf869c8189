"""An event over which a pipeline takes too much time or memory becomes a dead letter, alone; the rest go their way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from flows.exits import EXIT_BOUNDS
from tests.cli.conftest import HEADRACE, environment, run
from tests.flows.pipelines import STREAM, append, event_ids, landed_so_far, opened, rows, until, write_config
from tests.services.web import WebServer

OTHER = "22222222-2222-4333-8444-555555555555"
SECONDS = {"HEADRACE_BATCH_SECONDS": "3"}
MEMORY = {"HEADRACE_BATCH_MEGABYTES": "300"}
HUGE = {"set": {"event.length": "length(replace(event.a, 'x', event.a))"}}
LONG = {"set": {"event.distance": "levenshtein(event.a, event.b)"}}
WINDOW = {"window": {"name": "w", "key": "event.k", "length": "1h", "aggregate": {"n": "count(*)"}}}


def drain(path: Path, **more: str) -> str:
    done = subprocess.run(
        [*HEADRACE, "run", "--drain"],
        cwd=path.parent, env=environment(**more), capture_output=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return done.stderr.decode()


def letters(path: Path) -> list[dict[str, Any]]:
    try:
        table = DeltaTable(path.parent / "data/dead_letters")
    except TableNotFoundError:
        return []
    return pa.table(table.scan()).to_pylist()


def event(a: str, b: str = "") -> dict[str, Any]:
    return {"source": "s", "event": {"k": "k", "a": a, "b": b}}


@pytest.mark.timeout(600)
def test_an_event_that_needs_too_much_memory_is_set_aside_and_the_others_land(tmp_path: Path) -> None:
    streams = {"pay": {"id": STREAM, "steps": [HUGE]}, "remembers": {"id": OTHER, "steps": [HUGE, WINDOW]}}
    config, log = opened(path := write_config(tmp_path, {"streams": streams}))
    ids, bad = {STREAM: [], OTHER: []}, {}
    for stream in streams.values():
        for n in range(2):
            found = append(
                log, [event("x" * (60_000 if (n, i) == (1, 33) else 1)) for i in range(60)], stream=stream["id"]
            )
            ids[stream["id"]] += found
        bad[stream["id"]] = found[33]
    said = drain(path, **MEMORY)
    for name, stream in streams.items():
        assert sorted(event_ids(config, name)) == sorted({*ids[stream["id"]]} - {bad[stream["id"]]})
    assert {(one["event_id"], one["stage"], one["stream"]) for one in letters(path)} == {
        (bad[STREAM], "bounds", "pay"),
        (bad[OTHER], "bounds", "remembers"),
    }
    assert len(letters(path)) == 2
    assert all("needed more than 300 MB" in letter["error"] for letter in letters(path))
    assert "xxxx" not in said
    assert said.count("starting again to find the event") <= 6


@pytest.mark.timeout(600)
def test_what_is_known_of_an_event_holds_for_a_destination_that_was_away(tmp_path: Path) -> None:
    server = WebServer(lambda _: 503)
    destinations = {
        "lake": {"type": "delta", "uri": "./data/lake/{stream}", "commit_interval": "100ms"},
        "hook": {"type": "http", "url": server.url},
    }
    stream = {"id": STREAM, "steps": [LONG], "routes": [{"to": ["lake", "hook"]}]}
    path = write_config(tmp_path, {"destinations": destinations, "streams": {"pay": stream}})
    config, log = opened(path)
    ids = append(log, [event("one", "two"), event("a" * 120_000, "b" * 120_000), event("three", "four")])
    first = subprocess.Popen([*HEADRACE, "run"], cwd=tmp_path, env=environment(**SECONDS), stderr=subprocess.PIPE)
    try:
        until(lambda: len(landed_so_far(config)) == 2 and letters(path), 400, what="what is not refused")
    finally:
        first.terminate()
        _, said = first.communicate(timeout=60)
    assert said.count(b"starting again to find the event") == 1
    server.answer = lambda _: 200
    server.requests.clear()
    assert "starting again" not in drain(path, **SECONDS)
    server.stop()
    sent = [one["event_id"] for request in server.requests for one in msgspec.json.decode(request.body)]
    assert sent == sorted(event_ids(config)) == [ids[0], ids[2]]
    [letter] = letters(path)
    assert letter["event_id"] == ids[1]
    assert "took more than 0.5 s" in letter["error"]


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("preview pay --input events.ndjson", "streams.pay.steps[1].set"),
        ("explain pay --input events.ndjson", "streams.pay.steps"),
        ("test", "streams.pay.steps"),
    ],
)
def test_a_trial_ends_with_the_reason(command: str, named: str, tmp_path: Path) -> None:
    big = event("x" * 60_000)
    parse = {"parse": {"field": "event.text", "as": "json", "into": "event.parsed"}}
    tests = [{"name": "big", "input": [big], "expect": {"lake": [{}]}}]
    stream = {"id": STREAM, "steps": [{"filter": "event.k = 'k'"}, HUGE, parse], "tests": tests}
    write_config(tmp_path, {"streams": {"pay": stream}})
    (tmp_path / "events.ndjson").write_bytes(msgspec.json.encode(big))
    failed = run(*command.split(), cwd=tmp_path, env=MEMORY)
    assert failed.returncode == 1
    assert f"headrace: {named}" in failed.stderr
    assert "needed more than 300 MB" in failed.stderr
    assert failed.stderr.count("\n") == 1


@pytest.mark.timeout(600)
@pytest.mark.parametrize("when", ["another comes", "silence"])
def test_what_a_window_lets_go_is_an_event_of_its_own(when: str, tmp_path: Path) -> None:
    """The one at fault is refused, not those that happen to come when it is let go; nor is it met for ever."""
    steps = [{"window": {**WINDOW["window"], "lateness": "0s", "idle": "5s"}}, LONG, {"mask": {"event.a": "redact"}}]
    rollup = {"name": "r", "every": "1m", "aggregate": {"n": "count(*)"}, "to": ["lake"]}
    stream = {"id": STREAM, "steps": steps, "rollups": [rollup]}
    config, log = opened(path := write_config(tmp_path, {"streams": {"pay": stream}}))
    good = [{**event("one", "two"), "timestamp": f"2025-01-01T00:0{minute}:00Z"} for minute in (0, 2, 3)]
    bad = {**event("a" * 120_000, "b" * 120_000), "timestamp": "2025-01-01T00:01:00Z"}
    ids = append(log, [good[0], bad])
    if when == "silence":
        drain(path, **SECONDS)
    else:
        running = subprocess.Popen([*HEADRACE, "run"], cwd=tmp_path, env=environment(**SECONDS))
        try:
            until(lambda: sum(log.committed("headrace.pay").values()), what="the first events in the window")
        finally:
            running.terminate()
            running.wait(60)
    ids += append(log, good[1:])
    drain(path, **SECONDS)
    assert sorted(event_ids(config)) == sorted([ids[0], *ids[2:]])
    [letter] = letters(path)
    assert (letter["event_id"], letter["stage"], letter["step"]) == (ids[1], "bounds", "after steps[0]")
    assert letter["payload"] is None
    assert "took more than" in letter["error"]
    counted = {row[0]: row[1] for row in rows(config, "event_id, event.w.n")}
    assert [counted[one] for one in (ids[0], *ids[2:])] == [1, 3, 4], "it was in the windows of those after it"
    assert sum(n for (n,) in rows(config, "n", "pay_r")) == 3


RAISES = """
import sys
from pathlib import Path
import duckdb
from connectors.batch import batch_of
from connectors.log import Block
from connectors.record import Record
from flows.bounds import Bounded, Journal

def work(lines):
    if b"bad" in lines.ndjson:
        raise duckdb.ConversionException("Could not convert string 'bad' to INT32")
    return lines.table["index"].to_pylist()

value = b"\\n".join(b'{"a": "%s"}' % (b"bad" if n == 7 else b"good") for n in range(20))
[lines] = batch_of(Block(0, [5], [Record("s", "r", 1, 20, value)], 6)).streams
done, refused = Bounded(Journal(Path(sys.argv[1]))).run(lines, work)
assert [index for part in done for index in part] == [n for n in range(20) if n != 7]
[(reason, never)] = refused
assert never.table["index"].to_pylist() == [7]
print(reason)
"""


def test_what_the_engine_cannot_do_for_one_event_costs_only_that_event(tmp_path: Path) -> None:
    def ended() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", RAISES, str(tmp_path / "journal.json")]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    for _ in range(2):  # the batch, then the event alone
        assert ended().returncode == EXIT_BOUNDS
    last = ended()
    assert last.stdout == "the pipeline failed (ConversionException) over this event\n", last.stderr
