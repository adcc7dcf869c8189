"""The configuration is changed while a destination is away: what had been read before goes through the one that was in
force then, so that each event is where that one sends it, once."""

from __future__ import annotations

import hashlib
import hmac
import json
import pickle
import random
import signal
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connectors.log import Log
from connectors.source import NEAR
from flows.config import load
from flows.recovery import resume_epoch, state_directory, state_of_log
from tests.dlq.letters import letters, replayed
from tests.flows.pipelines import (
    STREAM,
    Feeder,
    append,
    drain,
    event_ids,
    landed_so_far,
    opened,
    rows,
    run_until,
    until,
    write_config,
)
from tests.flows.test_reload import running

OTHER = "22222222-2222-4333-8444-555555555555"
NAMES = ["lake", "away", "third"]

Routes = list[dict[str, Any]]


def by_kind(x: str, y: str) -> Routes:
    return [{"when": "event.kind = 'y'", "to": [y]}, {"to": [x]}]


BY_KIND = by_kind("lake", "away")
ALL_TO_LAKE: Routes = [{"to": ["lake"]}]


def configured(directory: Path, routes: Routes, *, streams: dict[str, Any] | None = None, **stream: Any) -> Path:
    tables = {name: {"type": "delta", "uri": f"./{name}/{{stream}}", "commit_interval": "100ms"} for name in NAMES}
    pay = {"pay": {"id": STREAM, "routes": routes, **stream}}
    log = {"embedded": {"partitions": 2}}
    return write_config(directory, {"log": log, "destinations": tables, "streams": pay if streams is None else streams})


class Sent:
    """Events of two kinds, the kind y going `away` at first."""

    def __init__(self, log: Log) -> None:
        self.x: list[str] = []
        self.y: list[str] = []
        self._log = log
        self.more()

    def more(self, count: int = 4) -> None:
        for number in range(count):
            self.x += append(self._log, [{"source": "app", "event": {"kind": "x", "n": number}}])
            self.y += append(self._log, [{"source": "app", "event": {"kind": "y", "n": number}}])


class Places:
    """Where the events of a configuration's stream are."""

    def __init__(self, path: Path) -> None:
        self._config = load(path)

    def there(self, name: str) -> Counter[str]:
        return Counter(landed_so_far(self._config, name))

    @property
    def dead(self) -> Counter[str]:
        try:
            return Counter(letter["event_id"] for letter in letters(self._config.data))
        except Exception:  # noqa: BLE001 -- no table yet
            return Counter()

    @property
    def all(self) -> Counter[str]:
        return sum((self.there(name) for name in NAMES), Counter()) + self.dead


def block(directory: Path, name: str = "away") -> Path:
    file = directory / name
    file.write_text("a file where a directory should be")
    return file


@pytest.mark.timeout(300)
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_what_waits_for_one_that_is_away_reaches_it_though_routes_send_it_elsewhere_now(
    end: signal.Signals, processes: int, tmp_path: Path
) -> None:
    path = configured(tmp_path, BY_KIND)
    _, log = opened(path)
    away = block(tmp_path)
    sent, places = Sent(log), Places(path)
    run_until(path, lambda: places.there("lake") == Counter(sent.x), processes=processes, end=end)
    waiting = list(sent.y)
    sent.more()  # which nobody has read yet: it goes by the new file
    configured(tmp_path, ALL_TO_LAKE)
    later = Counter(sent.x + sent.y[len(waiting) :])
    run_until(path, lambda: places.there("lake") == later, processes=processes)
    away.unlink()
    drain(path, processes=processes)
    drain(path, processes=processes)  # and nothing comes of it again
    assert places.there("away") == Counter(waiting)
    assert places.there("lake") == later
    assert places.dead == Counter()
    log.close()


@pytest.mark.timeout(300)
def test_each_goes_by_the_file_of_its_time_where_it_is_changed_again_and_again(tmp_path: Path) -> None:
    files = [("lake", "away"), ("lake", "lake"), ("away", "third"), ("lake", "away"), ("third", "lake")]
    path = configured(tmp_path, by_kind(*files[0]))
    _, log = opened(path)
    away = block(tmp_path)
    expected: dict[str, Counter[str]] = {name: Counter() for name in NAMES}
    records = 0
    with running(path) as run:
        for number, (x, y) in enumerate(files):
            if number:
                configured(tmp_path, by_kind(x, y))
                until(lambda number=number: run.says("configuration taken") == number, what="the change")
            sent = Sent(log)
            records += len(sent.x + sent.y)
            expected[x].update(sent.x)
            expected[y].update(sent.y)
            until(lambda records=records: read_so_far(path) == records, what="that all is read")
        away.unlink()
        places = Places(path)
        until(lambda: places.there("away") == expected["away"], what="what waited")
    drain(path)
    assert {name: places.there(name) for name in NAMES} == expected
    assert places.dead == Counter()
    log.close()


@pytest.mark.timeout(300)
def test_one_that_is_far_behind_gets_what_it_had_to_get(tmp_path: Path) -> None:
    """And the reading for it begins anew after each start, apart from that for the others."""
    path = configured(tmp_path, BY_KIND)
    _, log = opened(path)
    away = block(tmp_path)
    sent, places = Sent(log), Places(path)
    with ThreadPoolExecutor(16) as pool:
        more = pool.map(lambda _: append(log, [{"source": "app", "event": {"kind": "x"}}]), range(2 * NEAR + 100))
        sent.x += [one for request in more for one in request]
    run_until(path, lambda: places.there("lake") == Counter(sent.x))
    configured(tmp_path, ALL_TO_LAKE)
    before = list(sent.y)
    sent.more()
    run_until(path, lambda: places.there("lake") == Counter(sent.x + sent.y[len(before) :]))
    away.unlink()
    drain(path)
    assert places.there("away") == Counter(before)
    assert places.there("lake") == Counter(sent.x + sent.y[len(before) :])
    log.close()


GOOD, BAD = '{"x": 1}', "{"


def parsing(field: str) -> dict[str, Any]:
    """Events become dead letters whose `field` is no JSON."""
    step = {"parse": {"field": f"event.{field}", "as": "json", "into": "event.parsed", "on_error": "dead_letter"}}
    return {"steps": [step]}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_what_one_file_takes_and_the_next_refuses_is_a_dead_letter_or_there_by_when_it_was_read(
    end: signal.Signals, tmp_path: Path
) -> None:
    path = configured(tmp_path, ALL_TO_LAKE, **parsing("a"))
    _, log = opened(path)
    lake = block(tmp_path, "lake")
    places = Places(path)

    def send() -> tuple[list[str], list[str]]:
        found = []
        for a, b in [(GOOD, BAD), (BAD, GOOD)]:
            found.append(append(log, [{"source": "app", "event": {"a": a, "b": b}}] * 3))
        return found[0], found[1]

    by_b, by_a = send()
    run_until(path, lambda: places.dead == Counter(by_a), end=end)
    configured(tmp_path, ALL_TO_LAKE, **parsing("b"))
    later_by_b, later_by_a = send()
    run_until(path, lambda: places.dead == Counter(by_a + later_by_b), end=end)
    lake.unlink()
    drain(path)
    drain(path)
    assert places.dead == Counter(by_a + later_by_b)
    assert places.there("lake") == Counter(by_b + later_by_a)
    configured(tmp_path, ALL_TO_LAKE)
    assert replayed(path)["replayed"] == len(by_a + later_by_b)
    drain(path)
    assert places.there("lake") == Counter(by_a + by_b + later_by_a + later_by_b)
    log.close()


@pytest.mark.timeout(300)
def test_a_dead_letter_that_is_replayed_while_its_destination_is_away_is_there_once(tmp_path: Path) -> None:
    path = configured(tmp_path, ALL_TO_LAKE, **parsing("a"))
    _, log = opened(path)
    lake = block(tmp_path, "lake")
    places = Places(path)
    sent = append(log, [{"source": "app", "event": {"a": BAD, "b": GOOD}}] * 3)
    run_until(path, lambda: places.dead == Counter(sent))
    configured(tmp_path, ALL_TO_LAKE)
    assert replayed(path)["replayed"] == len(sent)
    lake.unlink()
    drain(path)
    drain(path)
    assert places.there("lake") == Counter(sent)
    assert places.dead == Counter()
    log.close()


@pytest.mark.timeout(300)
def test_what_waits_of_a_stream_that_is_taken_out_reaches_its_table_and_what_comes_is_a_dead_letter(
    tmp_path: Path,
) -> None:
    path = configured(tmp_path, ALL_TO_LAKE, streams={"other": {"id": OTHER}, "pay": {"id": STREAM}})
    config, log = opened(path)
    lake = block(tmp_path, "lake")
    gone = append(log, [{"source": "app", "event": {"n": n}} for n in range(3)], stream=OTHER)
    sent = append(log, [{"source": "app", "event": {"n": 1}}])
    run_until(path, lambda: read_so_far(path) == 2)
    configured(tmp_path, ALL_TO_LAKE, streams={"pay": {"id": STREAM}})
    late = append(log, [{"source": "app", "event": {"n": 4}}], stream=OTHER)
    lake.unlink()
    drain(path)
    assert sorted(event_ids(config, "other")) == sorted(gone)
    assert landed_so_far(config) == sent
    assert Places(path).dead == Counter(late)
    log.close()


def knows_of(path: Path, destination: str) -> bool:
    """Whether the engine's state of both partitions, as a process that starts now finds it, tells of a destination."""
    config, log = opened(path)
    log.close()
    executions: list[tuple[int, int, int]] = []
    frontiers: list[tuple[int, int, int]] = []
    snapshots: list[tuple[str, int, bytes | None]] = []
    for store in state_directory(config.data, log.identity, 0, 1).glob("part-*.sqlite3"):
        with closing(sqlite3.connect(store)) as db, suppress(sqlite3.OperationalError):  # it is being made, or written
            executions += db.execute("SELECT ex_num, worker_count, resume_epoch FROM exs").fetchall()
            frontiers += db.execute("SELECT ex_num, worker_index, worker_frontier FROM fronts").fetchall()
            snapshots += db.execute("SELECT state_key, snap_epoch, ser_change FROM snaps").fetchall()
    resume = resume_epoch(executions, frontiers)
    found = {
        key
        for key, epoch, change in snapshots
        if epoch < resume and change and destination in (pickle.loads(change) or ())
    }
    return found >= {"00000", "00001"}


@pytest.mark.timeout(300)
def test_a_destination_that_is_taken_out_with_something_still_to_get_is_named(tmp_path: Path) -> None:
    path = configured(tmp_path, BY_KIND)
    _, log = opened(path)
    block(tmp_path)
    sent, places = Sent(log), Places(path)
    run_until(path, lambda: places.there("lake") == Counter(sent.x) and knows_of(path, "away"), end=signal.SIGTERM)
    tables = {"lake": {"type": "delta", "uri": "./lake/{stream}"}}
    write_config(tmp_path, {"log": {"embedded": {"partitions": 2}}, "destinations": tables})
    drain(path)
    said = [line for line in (tmp_path / "worker-0.log").read_text().splitlines() if "was taken out" in line]
    assert {json.loads(line)["destination"] for line in said} == {"away"}
    assert len(sent.y) <= sum(json.loads(line)["records_at_most"] for line in said) <= len(sent.x + sent.y)
    log.close()


def positions(path: Path) -> list[Path]:
    config, log = opened(path)
    directory = state_of_log(config.data, log.identity) / "in_force"
    log.close()
    return sorted(directory.glob("*.position"))


def has_read(path: Path, records: int) -> bool:
    return read_so_far(path) >= records


def read_so_far(path: Path) -> int:
    """How many records have been read, as the dataflow notes it."""
    return sum(int(msgspec.json.decode(file.read_bytes())["handed"]) for file in positions(path))


@pytest.mark.timeout(300)
def test_where_the_host_went_down_all_that_the_log_had_goes_by_the_file_of_before(tmp_path: Path) -> None:
    """How far the dataflow had come is not known then."""
    path = configured(tmp_path, BY_KIND)
    _, log = opened(path)
    away = block(tmp_path)
    sent, places = Sent(log), Places(path)
    run_until(path, lambda: places.there("lake") == Counter(sent.x))
    sent.more()
    for file in positions(path):
        found = msgspec.json.decode(file.read_bytes())
        file.write_bytes(msgspec.json.encode(found | {"boot": "another start of the host", "handed": 0}))
    configured(tmp_path, ALL_TO_LAKE)
    run_until(path, lambda: places.there("lake") == Counter(sent.x))
    x, y = list(sent.x), list(sent.y)
    sent.more()
    away.unlink()
    drain(path)
    assert places.there("away") == Counter(y)
    assert places.there("lake") == Counter(sent.x + sent.y[len(x) :])
    log.close()


KEY = "a key that is long enough"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("still", [True, False], ids=["there", "gone"])
def test_an_earlier_file_masks_with_the_key_that_the_environment_has_and_none_is_written_down(
    still: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the environment has it no more it is said, and the present file is gone by: nothing goes on unmasked."""
    monkeypatch.setenv("HEADRACE_TEST_KEY", KEY)
    masked: dict[str, Any] = {"steps": [{"mask": {"event.kind": "hmac"}}], "mask_key": "${HEADRACE_TEST_KEY}"}
    path = configured(tmp_path, [{"to": ["away"]}], **masked)
    config, log = opened(path)
    away = block(tmp_path)
    sent = append(log, [{"source": "app", "event": {"kind": "x", "n": n}} for n in range(3)])
    run_until(path, lambda: read_so_far(path) == 1)
    configured(tmp_path, ALL_TO_LAKE, steps=[{"drop": ["event.kind"]}])
    state = state_of_log(config.data, log.identity) / "in_force"
    assert not [file for file in state.iterdir() if KEY.encode() in file.read_bytes()]
    if not still:
        monkeypatch.delenv("HEADRACE_TEST_KEY")
    away.unlink()
    drain(path)
    assert Counter(landed_so_far(config, "away" if still else "lake")) == Counter(sent)
    said = (tmp_path / "worker-0.log").read_text().count("the environment variable HEADRACE_TEST_KEY is not set")
    assert said == (0 if still else 1)
    if still:
        digest = hmac.new(KEY.encode(), b"x", hashlib.sha256).hexdigest()
        assert all(kind.endswith(f":{digest}") for (kind,) in rows(config, "event.kind", destination="away"))
    log.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("still", [True, False], ids=["there", "gone"])
def test_an_earlier_file_looks_things_up_where_the_file_for_it_is_still_there(still: bool, tmp_path: Path) -> None:
    """Where it is not, that is said, and the dataflow goes on by the present file."""
    teams = tmp_path / "teams.csv"
    teams.write_text("source,team\napp,red\n")
    enrich = {"enrich": {"lookup": "teams", "on": "source", "into": "event.team"}}
    lookups = {"teams": {"file": "./teams.csv", "key": "source"}}
    path = configured(tmp_path, [{"to": ["away"]}], steps=[enrich], lookups=lookups)
    config, log = opened(path)
    away = block(tmp_path)
    sent = append(log, [{"source": "app", "event": {"n": n}} for n in range(3)])
    run_until(path, lambda: read_so_far(path) == 1)
    configured(tmp_path, ALL_TO_LAKE)
    if not still:
        teams.unlink()
    away.unlink()
    drain(path)
    assert Counter(landed_so_far(config, "away" if still else "lake")) == Counter(sent)
    said = (tmp_path / "worker-0.log").read_text().count("an earlier configuration cannot be gone by")
    assert said == (0 if still else 1)
    if still:
        assert rows(config, "event.team.team", destination="away") == [("red",)] * 3
    log.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("processes", [1, 2])
def test_under_load_with_kills_whenever_routes_change_each_event_is_in_one_place(
    processes: int, tmp_path: Path
) -> None:
    dice = random.Random(processes)
    path = configured(tmp_path, ALL_TO_LAKE)
    _, log = opened(path)
    places, hidden = Places(path), tmp_path / "hidden"

    def unblock() -> None:
        (tmp_path / "away").unlink()
        if hidden.exists():
            hidden.rename(tmp_path / "away")

    feeder = Feeder(log, processes)
    try:
        for _ in range(8):
            if (tmp_path / "away").is_file() and dice.random() < 0.4:
                unblock()
            elif not (tmp_path / "away").is_file():
                if (tmp_path / "away").exists():
                    (tmp_path / "away").rename(hidden)
                block(tmp_path)
            first, second = dice.sample(NAMES, 2)
            configured(tmp_path, [{"when": "event.i % 2 = 0", "to": [first]}, {"to": [second]}])
            before = read_so_far(path)
            run_until(
                path,
                partial(has_read, path, before + dice.randint(1, 30)),
                processes=processes,
                end=dice.choice([signal.SIGKILL, signal.SIGTERM]),
            )
    finally:
        sent = Counter(feeder.stop())
    if (tmp_path / "away").is_file():
        unblock()
    drain(path, processes=processes)
    assert sum((places.there(name) for name in NAMES), Counter()) == sent
    assert places.dead == Counter()
    log.close()
