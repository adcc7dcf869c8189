"""`headrace replay`: a span of the log through the present configuration, each event once in the destination."""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from connectors.errors import HeadraceError
from connectors.record import now_microseconds
from connectors.sinks.store import open_store
from flows.config import load
from flows.replay.plan import only_one
from tests.cli.conftest import run
from tests.flows.pipelines import STREAM, append, event_ids, rows, write_config
from tests.flows.test_kills import lake_in
from tests.replay.replays import MINUTE, NOON, events, live, log_of, receive, replay
from tests.services.web import Request, WebServer


def two_lakes(directory: Path, stream: dict[str, Any] | None = None, **more: Any) -> Path:
    """A configuration with the destinations `lake` and `copy`, of which no route names the second."""
    lakes = {
        name: {"type": "delta", "uri": str(directory / name / "{stream}"), "commit_interval": "100ms"}
        for name in ("lake", "copy")
    }
    text = {"destinations": lakes | more.pop("destinations", {}), "streams": {"pay": {"id": STREAM} | (stream or {})}}
    return write_config(directory, text | more)


def numbers(config: Path, destination: str = "copy") -> list[int]:
    return sorted(row[0] for row in rows(load(config), "event.n", destination=destination))


def test_a_destination_that_no_route_names_gets_once_what_the_pipeline_keeps(tmp_path: Path) -> None:
    routes = [{"when": "event.n < 5", "to": ["lake"]}]
    config = two_lakes(tmp_path, {"steps": [{"filter": "event.n % 2 = 0"}], "routes": routes})
    log = log_of(config)
    for first in range(0, 100, 10):
        append(log, events(first, 10))
    done = replay(config, "copy")
    assert numbers(config) == list(range(0, 100, 2))
    assert (done.read, done.written, done.dropped, done.already_there, done.left) == (100, 50, 50, 0, 0)
    assert done.finished
    again = replay(config, "copy")
    assert (again.written, again.finished) == (0, True)
    assert numbers(config) == list(range(0, 100, 2))
    shutil.rmtree(tmp_path / "copy")
    assert replay(config, "copy").written == 50, "a table that was lost is made again"


def test_without_an_end_the_same_command_takes_what_has_come_since(tmp_path: Path) -> None:
    config = two_lakes(tmp_path)
    log = log_of(config)
    append(log, events(0, 10))
    replay(config, "copy")
    append(log, events(10, 5))
    assert replay(config, "copy").written == 5
    assert numbers(config) == list(range(15))


def test_times_of_receipt_are_half_open_whatever_the_order_in_the_log(tmp_path: Path) -> None:
    """Gateways' clocks differ, so a record may have been received before the one that lies ahead of it."""
    config = two_lakes(tmp_path, log={"embedded": {"path": str(tmp_path / "log"), "partitions": 1}})
    log = log_of(config)
    order = [0, 2, 1, 4, 3, 5, 7, 6, 9, 8]
    for minute in order:
        receive(log, events(minute, 1), NOON + minute * MINUTE)
    done = replay(config, "copy", "2026-02-12T12:03:00Z", "2026-02-12T13:08:00+01:00")
    assert numbers(config) == [3, 4, 5, 6, 7]
    assert done.written == 5


def test_a_time_ago_means_the_same_when_the_command_is_repeated(tmp_path: Path) -> None:
    config = two_lakes(tmp_path)
    log = log_of(config)
    receive(log, events(0, 3), now_microseconds() - 180 * MINUTE)
    receive(log, events(3, 3), now_microseconds() - 60 * MINUTE)
    assert replay(config, "copy", "2h").written == 3
    assert replay(config, "copy", "2h").written == 0
    assert numbers(config) == [3, 4, 5]


def test_offsets_by_partition_leave_out_the_partitions_that_are_not_named(tmp_path: Path) -> None:
    config = two_lakes(tmp_path, log={"embedded": {"path": str(tmp_path / "log"), "partitions": 2}})
    log = log_of(config)
    found: dict[int, list[int]] = {0: [], 1: []}
    for n in range(10):
        before = log.bounds()
        append(log, events(n, 1))
        [partition] = [p for p, (_, end) in log.bounds().items() if end > before[p][1]]
        found[partition].append(n)
    replay(config, "copy", "1:1", "1:4")
    assert numbers(config) == found[1][1:4]
    replay(config, "copy", "offset:3")
    assert numbers(config) == sorted({*found[0][3:], *found[1][1:]})


@pytest.mark.parametrize(
    ("begin", "end", "told"),
    [
        ("9:0", None, "no partition 9"),
        ("0:999", None, "ends at offset"),
        ("offset:999", None, "no partition has an offset 999"),
        ("2026-02-12T13:00:00Z", "2026-02-12T12:00:00Z", "is not before --to"),
        ("0:0", "1:1", "name no partition together"),
    ],
)
def test_what_the_log_cannot_have_is_refused_with_the_option(
    begin: str, end: str | None, told: str, tmp_path: Path
) -> None:
    config = two_lakes(tmp_path)
    append(log_of(config), events(0, 1))
    with pytest.raises(HeadraceError, match=told):
        replay(config, "copy", begin, end)


def test_the_live_table_gets_what_it_lacks_and_nothing_twice(tmp_path: Path) -> None:
    config = two_lakes(tmp_path, {"steps": [{"filter": "event.n < 10"}]})
    log = log_of(config)
    append(log, events(0, 10))
    append(log, events(10, 10), key="k")
    append(log, events(10, 10), key="k")
    live(config)
    assert numbers(config, "lake") == list(range(10))
    two_lakes(tmp_path)  # the filter is gone
    done = replay(config, "lake")
    assert numbers(config, "lake") == list(range(20))
    assert (done.written, done.already_there, done.repeated, done.left) == (10, 10, 10, 0)


def test_what_the_dataflow_has_yet_to_bring_is_left_to_it(tmp_path: Path) -> None:
    config = two_lakes(tmp_path)
    log = log_of(config)
    append(log, events(0, 10))
    live(config)
    append(log, events(10, 10))
    done = replay(config, "lake")
    assert (done.written, done.left) == (0, 1)
    live(config)
    assert numbers(config, "lake") == list(range(20))


@pytest.mark.parametrize("where", ["local", "s3"])
def test_files_that_are_there_are_known_by_their_events(
    where: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "s3":
        monkeypatch.setenv("TEST_S3_SECRET", request.getfixturevalue("s3").secret_key)
    place = {name: value for name, value in lake_in(where, tmp_path, request).items() if name != "commit_interval"}
    files = {"files": place | {"type": "parquet"}}
    route = [{"to": ["files"]}]
    config = two_lakes(tmp_path, {"routes": route, "steps": [{"filter": "event.n < 10"}]}, destinations=files)
    append(log_of(config), events(0, 20))
    live(config)
    two_lakes(tmp_path, {"routes": route}, destinations=files)
    done = replay(config, "files")
    assert (done.written, done.already_there) == (10, 10)
    assert replay(config, "files", "offset:0").written == 0
    settings = load(config).destinations["files"]
    store = open_store(settings, "pay")  # type: ignore[arg-type]
    tables = [
        pq.read_table(pa.BufferReader(store.read(f"{day}/{name}")), columns=["event_id", "event"])
        for day in {f"date={datetime.now(UTC) - timedelta(days=ago):%Y-%m-%d}" for ago in (0, 1)}
        for name in store.names(day)
    ]
    found = pa.concat_tables(tables).to_pylist()
    assert sorted(row["event"]["n"] for row in found) == list(range(20))
    assert len({row["event_id"] for row in found}) == 20


def test_a_destination_that_events_are_sent_to_is_waited_for_and_what_it_refuses_is_a_dead_letter_once(
    tmp_path: Path,
) -> None:
    down = [503] * 3

    def answer(request: Request) -> int:
        if down:
            return down.pop()
        return 400 if b'"n":2' in request.body else 200

    server = WebServer(answer)
    hook = {"hook": {"type": "http", "url": server.url, "batch_rows": 1}}
    config = two_lakes(tmp_path, destinations=hook)
    append(log_of(config), events(0, 4))
    done = replay(config, "hook")
    assert (done.written, done.refused, done.dead_letters) == (3, 1, 1)
    again = replay(config, "hook", "offset:0")
    assert (again.written, again.refused, again.dead_letters) == (3, 1, 0)
    server.stop()
    assert list(letters(config).values()) == [1]


def test_a_text_that_is_no_place_in_the_log_is_wrong_usage_with_the_forms_that_there_are(tmp_path: Path) -> None:
    config = two_lakes(tmp_path)
    told = run("replay", "pay", "--config", config, "--into", "copy", "--from", "yesterday", cwd=tmp_path)
    assert told.returncode == 2
    assert "--from" in told.stderr
    assert "2h" in told.stderr
    told = run("replay", "pay", "--config", config, "--into", "lake", "--rebuild", "--to", "2h", cwd=tmp_path)
    assert told.returncode == 2


PARSE = {"parse": {"field": "event.message", "as": "json", "into": "event.m", "on_error": "dead_letter"}}


def messages(*texts: str) -> list[dict[str, Any]]:
    return [{"source": "app", "event": {"n": n, "message": text}} for n, text in enumerate(texts)]


def letters(config: Path) -> Counter[str]:
    table = DeltaTable(str(load(config).data / "dead_letters"))
    return Counter(pa.table(table.scan(columns=["event_id"]))["event_id"].to_pylist())


def test_dead_letters_of_a_replay_come_once(tmp_path: Path) -> None:
    config = two_lakes(tmp_path, {"steps": [PARSE]})
    append(log_of(config), messages("{", "{}", "{"))
    first = replay(config, "copy")
    assert (first.written, first.dead_letters) == (1, 2)
    assert replay(config, "copy", "offset:0").dead_letters == 0  # another replay of the same
    assert set(letters(config).values()) == {1}


def test_dead_letters_that_the_dataflow_has_made_or_will_make_are_left_to_it(tmp_path: Path) -> None:
    config = two_lakes(tmp_path, {"steps": [PARSE]})
    log = log_of(config)
    append(log, messages("{", "{}", "{"))
    live(config)
    append(log, messages("{", "{}"))
    done = replay(config, "copy")
    assert (done.written, done.dead_letters) == (2, 0)
    live(config)
    assert len(letters(config)) == 3
    assert set(letters(config).values()) == {1}


def test_what_a_strict_table_refuses_is_a_dead_letter_once(tmp_path: Path) -> None:
    config = two_lakes(tmp_path, {"schema": "reject"})
    log = log_of(config)
    append(log, events(0, 3))
    replay(config, "copy")
    append(log, [{"source": "app", "event": {"n": "no number"}}])
    assert replay(config, "copy").dead_letters == 1
    assert replay(config, "copy", "offset:0").dead_letters == 0
    assert list(letters(config).values()) == [1]


def test_the_same_stream_and_destination_are_replayed_one_at_a_time(tmp_path: Path) -> None:
    config = two_lakes(tmp_path)
    append(log_of(config), events(0, 1))
    replay(config, "copy", "offset:0")
    lock = load(config).data / "state" / "replays" / "pay.copy.lock"
    with only_one(lock), pytest.raises(HeadraceError, match="another replay"):
        replay(config, "copy")


def test_unknown_names_are_refused_with_those_that_there_are(tmp_path: Path) -> None:
    config = two_lakes(tmp_path)
    with pytest.raises(HeadraceError, match=r"--into: there is no destination 'nowhere'.*copy, lake"):
        replay(config, "nowhere")


def test_what_retention_has_deleted_is_told(tmp_path: Path) -> None:
    log_settings = {"embedded": {"path": str(tmp_path / "log"), "partitions": 1, "retention_hours": 1}}
    config = two_lakes(tmp_path, log=log_settings)
    log: Any = log_of(config)
    for n in range(4):
        receive(log, events(n, 1), NOON + n * MINUTE, key="again" if n in (1, 2) else None)
    live(config)
    assert log.retain(now=NOON + 2 * MINUTE + 60 * MINUTE) == 2
    done = replay(config, "copy", "offset:0")
    assert (done.missing, done.written) == (2, 2)
    assert numbers(config) == [2, 3]
    assert replay(config, "copy", "2026-02-12T11:00:00Z").missing == 2
    # The repeat whose original is gone from the log is in the live table under the original's time.
    assert replay(config, "lake").written == 0
    assert Counter(event_ids(load(config))).most_common(1)[0][1] == 1


def test_an_event_that_was_sent_again_from_the_dead_letters_comes_once(tmp_path: Path) -> None:
    config = two_lakes(tmp_path, {"steps": [PARSE]})
    log = log_of(config)
    append(log, messages("{"))
    live(config)
    two_lakes(tmp_path)  # the step is gone
    done = run("dlq", "replay", "--config", config, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    live(config)
    assert numbers(config, "lake") == [0]
    assert replay(config, "copy").written == 1
    assert replay(config, "lake").written == 0
    assert numbers(config) == numbers(config, "lake") == [0]


def test_the_state_of_a_finished_replay_goes_and_what_is_gone_on_with_goes_when_another_begins(tmp_path: Path) -> None:
    config = two_lakes(tmp_path)
    log = log_of(config)
    append(log, events(0, 10))
    replays = load(config).data / "state" / "replays"

    def states() -> int:
        return sum(1 for file in replays.glob("*/*") if file.is_dir())

    bounded = replay(config, "copy", "offset:0", "offset:100")
    assert bounded.written == 10
    assert states() == 0
    again = replay(config, "copy", "offset:0", "offset:100")
    assert (again.finished, again.written, again.read) == (True, 0, 0), "what was finished is still known"
    replay(config, "copy")
    assert states() == 1, "without an end it is gone on with"
    two_lakes(tmp_path, {"steps": [{"filter": "event.n <> 3"}]})
    replay(config, "copy")
    assert states() == 1
    two_lakes(tmp_path)
    append(log, events(10, 5))
    done = replay(config, "copy")  # the first configuration again
    assert (done.read, done.written, states()) == (5, 5, 1)
    assert numbers(config) == list(range(15))


def test_a_route_that_is_added_first_leaves_no_gap_between_a_replay_and_the_dataflow(tmp_path: Path) -> None:
    config = two_lakes(tmp_path)
    log = log_of(config)
    append(log, events(0, 10))
    live(config)
    two_lakes(tmp_path, {"routes": [{"to": ["lake", "copy"]}]})
    append(log, events(10, 10))
    live(config)
    done = replay(config, "copy")
    assert (done.written, done.already_there, done.left) == (10, 10, 0)
    append(log, events(20, 10))
    live(config)
    assert numbers(config) == numbers(config, "lake") == list(range(30))
