"""The dataflow as an operator runs it: what lands, what happens when something is down, how it stops."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from connectors.record import Record, new_request_id, now_microseconds
from tests.flows.pipelines import (
    STREAM,
    Worker,
    append,
    drain,
    event_ids,
    landed_so_far,
    opened,
    rows,
    until,
    write_config,
)
from tests.services.seaweedfs import SeaweedFS

SEED_EVENT = {
    "timestamp": "2025-02-12T14:32:15Z",
    "source": "payments-app",
    "event": {
        "transactionId": "txn_30921",
        "status": "approved",
        "latency_ms": 182,
        "amount": 499,
        "currency": "USD",
    },
    "metadata": {"env": "prod", "team": "payments"},
}


def test_an_event_lands_typed_with_its_identity_and_its_day(tmp_path: Path) -> None:
    config, log = opened(path := write_config(tmp_path, {}))
    (event_id,) = append(log, [SEED_EVENT])
    drain(path)
    names = "event_id, source, event.transactionId, event.amount, metadata.team, _sample_rate, _late, _rescued"
    assert rows(config, names) == [(event_id, "payments-app", "txn_30921", 499, "payments", 1.0, False, None)]
    assert [str(moment) for (moment,) in rows(config, "timestamp")] == ["2025-02-12 14:32:15+00:00"]
    assert [str(day) for (day,) in rows(config, "date")] == ["2025-02-12"]


def test_steps_and_routes_decide_what_lands_where(tmp_path: Path) -> None:
    stream = {
        "id": STREAM,
        "steps": [
            {"filter": "event.status IS DISTINCT FROM 'healthcheck'"},
            {"set": {"event.double": "event.n * 2"}},
            {"drop": ["event.debug"]},
        ],
        "routes": [{"when": "event.n > 1", "to": ["big"], "also": True}, {"to": ["lake"]}],
    }
    lakes = {name: {"type": "delta", "uri": f"./{name}/{{stream}}"} for name in ("lake", "big")}
    config, log = opened(path := write_config(tmp_path, {"streams": {"pay": stream}, "destinations": lakes}))
    append(log, [{"source": "a", "event": {"n": n, "status": s, "debug": "x"}} for n, s in [(1, "a"), (2, "b")]])
    append(log, [{"source": "a", "event": {"n": 3, "status": "healthcheck"}}])
    drain(path)
    assert sorted(rows(config, "event.n, event.double")) == [(1, 2), (2, 4)]
    assert rows(config, "event.n", destination="big") == [(2,)]
    assert "debug" not in rows(config, "event")[0][0]


def test_a_timestamp_in_a_rarer_form_of_iso_8601_is_read_too(tmp_path: Path) -> None:
    config, log = opened(path := write_config(tmp_path, {}))
    append(log, [{"source": "a", "event": {"n": 1}, "timestamp": "20250212T143215,5Z"}])
    drain(path)
    assert [str(moment) for (moment,) in rows(config, "timestamp")] == ["2025-02-12 14:32:15.500000+00:00"]


ODD_SOURCES = [
    "x" * 251,
    "é" * 90,
    "🙂" * 1_000,
    "%" * 300,
    "z" * 100_000,
    ".",
    "..",
    "a/../b",
    "\0\n\x7f",
    " ",
    "plain",
]


def test_a_source_of_any_name_and_length_lands_where_tables_are_partitioned_by_it(tmp_path: Path) -> None:
    places = {
        "lake": {"type": "delta", "uri": f"{tmp_path}/lake/{{stream}}", "partition_by": ["source"]},
        "days": {"type": "delta", "uri": f"{tmp_path}/days/{{stream}}", "partition_by": ["date", "source"]},
        "files": {"type": "parquet", "uri": f"{tmp_path}/files/{{stream}}"},
    }
    stream = {"id": STREAM, "routes": [{"to": list(places)}]}
    config, log = opened(path := write_config(tmp_path, {"destinations": places, "streams": {"pay": stream}}))
    for fields in ({"a": 1}, {"a": 2}, {"a": 3, "b": {"c": "new columns"}}):
        append(log, [{"source": source, "event": fields} for source in ODD_SOURCES])
        drain(path)
    expected = Counter((source, a) for source in ODD_SOURCES for a in (1, 2, 3))
    for name in ("lake", "days"):
        table = DeltaTable(str(tmp_path / name / "pay"))
        found = pa.table(QueryBuilder().register("t", table).execute("SELECT source, event FROM t").read_all())
        assert Counter((row["source"], row["event"]["a"]) for row in found.to_pylist()) == expected
    with duckdb.connect() as engine:
        files = engine.sql(f"SELECT source, event.a FROM read_parquet('{tmp_path}/files/pay/*/*.parquet')").fetchall()
    assert Counter(files) == expected
    assert not (config.data / "dead_letters").exists()


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
def test_a_clock_far_off_is_kept_as_it_is(moment: str, tmp_path: Path) -> None:
    config, log = opened(path := write_config(tmp_path, {}))
    append(log, [{"source": "a", "event": {"n": 1}, "timestamp": moment}])
    drain(path)
    assert [row[0].year for row in rows(config, "timestamp")] == [int(moment[:4])]


def test_a_repeat_of_a_keyed_request_leaves_one_copy_across_a_restart(tmp_path: Path) -> None:
    config, log = opened(path := write_config(tmp_path, {}))
    events = [{"source": "a", "event": {"n": n}} for n in range(3)]
    expected = append(log, events, key="k")
    append(log, events, key="k")
    drain(path)
    append(log, events, key="k")
    append(log, [{"source": "a", "event": {"n": 9}}], key="other")
    drain(path)
    landed = event_ids(config)
    assert len(landed) == 4
    assert set(expected) < set(landed)


def test_a_repeat_after_the_window_is_a_new_request(tmp_path: Path) -> None:
    config, log = opened(path := write_config(tmp_path, {"streams": {"pay": {"id": STREAM, "dedupe_window": "0s"}}}))
    append(log, [{"source": "a", "event": {"n": 1}}], key="k")
    append(log, [{"source": "a", "event": {"n": 1}}], key="k")
    drain(path)
    assert len(event_ids(config)) == 2


def test_what_no_gateway_let_in_does_not_stop_the_rest(tmp_path: Path) -> None:
    config, log = opened(path := write_config(tmp_path, {}))
    good = append(log, [{"source": "a", "event": {"n": 1}}])
    for value in (b"not json", b"[1]", b'{"source": 1, "event": {}}', b'{"event": {}}', b"\xff\xfe"):
        log.append(Record(STREAM, new_request_id(), now_microseconds(), 1, value))
    log.append(Record("00000000-0000-4000-8000-000000000000", new_request_id(), now_microseconds(), 1, b"{}"))
    good += append(log, [{"source": "a", "event": {"n": 2}}])
    drain(path)
    assert sorted(event_ids(config)) == sorted(good)
    letters = dead_letters(config)
    assert sorted(stage for stage, _, _ in letters) == ["parse"] * 5 + ["stream"]
    assert ("parse", "pay", "not json") in letters


def test_the_number_of_processes_can_change_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    config, log = opened(path := write_config(tmp_path, {}))
    expected: list[str] = []
    for processes in (1, 2, 3, 1, 2):
        for _ in range(20):
            expected += append(log, [{"source": "a", "event": {"n": 1}}] * 5)
        drain(path, processes=processes)
        assert Counter(event_ids(config)) == Counter(expected)


def test_without_its_state_the_dataflow_reads_again_and_doubles_nothing(tmp_path: Path) -> None:
    config, log = opened(path := write_config(tmp_path, {}))
    expected = append(log, [{"source": "a", "event": {"n": 1}}] * 5)
    drain(path)
    subprocess.run(["rm", "-r", str(tmp_path / "data" / "state")], check=True)
    log.forget_group("headrace")  # type: ignore[attr-defined] # the embedded log's own
    expected += append(log, [{"source": "a", "event": {"n": 2}}])
    drain(path)
    assert Counter(event_ids(config)) == Counter(expected)


def test_a_new_log_beside_an_old_table_is_read_from_its_beginning(tmp_path: Path) -> None:
    config, log = opened(path := write_config(tmp_path, {}))
    expected = [event for _ in range(10) for event in append(log, [{"source": "a", "event": {"n": 1}}])]
    drain(path)
    log.close()
    subprocess.run(["rm", "-r", str(tmp_path / "data" / "log")], check=True)
    _, log = opened(path)
    expected += append(log, [{"source": "a", "event": {"n": 2}}])
    drain(path)
    assert Counter(event_ids(config)) == Counter(expected)


def test_a_lake_that_cannot_be_written_is_waited_for(tmp_path: Path) -> None:
    config, log = opened(path := write_config(tmp_path, {}))
    (tmp_path / "data").mkdir(exist_ok=True)
    obstacle = tmp_path / "data" / "lake"
    obstacle.write_text("a file where a directory should be")
    expected = append(log, [{"source": "a", "event": {"n": 1}}])
    running = supervisor(path)
    try:
        until(lambda: "dataflow" in said(tmp_path) and "pay" in said(tmp_path), what="an error naming the table")
        assert "Traceback" not in said(tmp_path)
        obstacle.unlink()
        until(lambda: landed_so_far(config) == expected, what="the event")
    finally:
        stop(running)


def test_a_killed_process_is_started_again_and_a_clean_stop_commits_what_was_read(tmp_path: Path) -> None:
    lake = {"type": "delta", "uri": "./lake/{stream}", "commit_interval": "1h"}
    config, log = opened(path := write_config(tmp_path, {"destinations": {"lake": lake}}))
    running = supervisor(path, "--processes", "2")
    try:
        until(lambda: len(children(running.pid)) == 2, what="two processes")
        victim = children(running.pid)[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(children(running.pid)) == 2 and victim not in children(running.pid), what="a new process")
        expected = [event for _ in range(8) for event in append(log, [{"source": "a", "event": {"n": 1}}])]
        reader = log.reader(range(log.partitions), {}, group="watch")
        until(lambda: sum(reader.end_offsets().values()) == len(expected))
    finally:
        assert stop(running) == 0
    assert Counter(landed_so_far(config)) <= Counter(expected)
    drain(path, processes=2)
    assert Counter(event_ids(config)) == Counter(expected)


def test_a_second_dataflow_on_the_same_data_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = write_config(tmp_path, {})
    opened(path)
    running = supervisor(path)
    try:
        until(lambda: children(running.pid), what="a process")
        second = subprocess.run(headrace("run", path), capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1
        assert "already runs" in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        stop(running)


def test_killing_the_supervisor_leaves_no_process_behind(tmp_path: Path) -> None:
    path = write_config(tmp_path, {})
    opened(path)
    running = supervisor(path)
    until(lambda: children(running.pid), what="a process")
    (worker,) = children(running.pid)
    running.kill()
    running.wait(10)
    until(lambda: not Path(f"/proc/{worker}").exists() or "zombie" in status(worker), what="the end of the process")


def test_two_dataflows_that_cannot_see_each_other_are_fenced_by_the_table(tmp_path: Path) -> None:
    """The second has a data directory of its own but the same log and lake: it may fail, never write twice."""
    text: dict[str, Any] = {
        "log": {"embedded": {"path": str(tmp_path / "log")}},
        "destinations": {"lake": {"type": "delta", "uri": str(tmp_path / "lake/{stream}"), "commit_interval": "100ms"}},
    }
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    paths = [write_config(tmp_path / name, text) for name in ("one", "two")]
    config, log = opened(paths[0])
    running = [supervisor(path) for path in paths]
    try:
        expected: list[str] = []
        for _ in range(100):
            expected += append(log, [{"source": "a", "event": {"n": 1}}])
        until(lambda: set(landed_so_far(config)) == set(expected), seconds=90, what="every event")
    finally:
        for process in running:
            stop(process)
    drain(paths[0])
    assert Counter(event_ids(config)) == Counter(expected)


def test_an_s3_server_that_goes_and_comes_back_loses_nothing(
    own_s3: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_S3_SECRET", own_s3.secret_key)
    own_s3.make_bucket("weather")
    lake = {
        "type": "delta",
        "uri": "s3://weather/{stream}",
        "endpoint": own_s3.endpoint,
        "region": "us-east-1",
        "access_key_id": own_s3.access_key,
        "secret_access_key": "${TEST_S3_SECRET}",
        "commit_interval": "100ms",
    }
    config, log = opened(path := write_config(tmp_path, {"destinations": {"lake": lake}}))
    expected = append(log, [{"source": "a", "event": {"n": 0}}])
    own_s3.kill()
    running = supervisor(path)
    try:
        until(lambda: "cannot be reached" in said(tmp_path), what="a message that says what is down")
        own_s3.start()
        for n in range(30):
            expected += append(log, [{"source": "a", "event": {"n": n}}])
        until(lambda: landed_so_far(config), what="the first commit")
        own_s3.kill()
        expected += append(log, [{"source": "a", "event": {"n": 99}}])
        own_s3.start()
        until(lambda: len(landed_so_far(config)) >= len(expected), seconds=120, what="every event")
    finally:
        stop(running)
    assert Counter(event_ids(config)) == Counter(expected)
    assert own_s3.secret_key not in said(tmp_path)


def test_a_kafka_broker_that_dies_under_the_dataflow_is_waited_for(own_kafka: Any, tmp_path: Path) -> None:
    topic = f"weather-{random.randrange(10**9)}"
    text = {"log": {"kafka": {"bootstrap_servers": own_kafka.bootstrap, "topic": topic, "partitions": 2}}}
    config, log = opened(path := write_config(tmp_path, text))
    expected = append(log, [{"source": "a", "event": {"n": 1}}])
    running = supervisor(path)
    try:
        until(lambda: set(landed_so_far(config)) == set(expected), what="the first event")
        own_kafka.kill()
        own_kafka.start()
        expected += append(log, [{"source": "a", "event": {"n": 2}}])
        until(lambda: set(landed_so_far(config)) == set(expected), seconds=120, what="the second event")
    finally:
        stop(running)
    assert Counter(event_ids(config)) == Counter(expected)


def test_it_is_an_ordinary_bytewax_flow(tmp_path: Path) -> None:
    config, log = opened(path := write_config(tmp_path, {}))
    expected = append(log, [{"source": "a", "event": {"n": 1}}])
    state = tmp_path / "recovery"
    state.mkdir()
    subprocess.run([sys.executable, "-m", "bytewax.recovery", str(state), "1"], check=True, timeout=60)
    flow = f"flows.graph:pipeline({str(path)!r})"
    command = [sys.executable, "-m", "bytewax.run", flow, "-r", str(state), "-s", "1", "-b", "0"]
    with (tmp_path / "errors").open("wb") as errors:
        running = subprocess.Popen(command, stderr=errors, stdout=errors)
    try:
        until(lambda: landed_so_far(config) == expected, what="the event")
    finally:
        running.kill()
        running.wait(10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_asked_to_stop_says_when_all_is_committed(number: signal.Signals, tmp_path: Path) -> None:
    lakes = {
        name: {"type": "delta", "uri": f"./{name}/{{stream}}", "commit_interval": interval}
        for name, interval in [("lake", "1h"), ("quick", "50ms")]
    }
    stream = {"id": STREAM, "routes": [{"to": ["lake", "quick"]}]}
    config, log = opened(path := write_config(tmp_path, {"destinations": lakes, "streams": {"pay": stream}}))
    worker = Worker(path, 0, 1)
    worker.wait_for("ready")
    expected = append(log, [{"source": "a", "event": {"n": 1}}])
    until(lambda: landed_so_far(config, "quick") == expected, what="the event, read and held back by the lake")
    assert landed_so_far(config) == []
    worker.signal(number)
    worker.wait_for("flushed")
    assert worker.alive  # it closes nothing: its supervisor ends it
    worker.kill()
    assert event_ids(config) == expected


def dead_letters(config: Any) -> list[tuple[Any, ...]]:
    table = DeltaTable(str(config.data / "dead_letters"))
    with duckdb.connect() as engine:
        query = "SELECT stage, stream, payload FROM read_parquet($files)"
        return engine.sql(query, params={"files": table.file_uris()}).fetchall()


def headrace(command: str, path: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "headrace", command, "--config", str(path), *more]


def supervisor(path: Path, *more: str) -> subprocess.Popen[bytes]:
    with (path.parent / "errors").open("ab") as errors:
        return subprocess.Popen(headrace("run", path, *more), stdout=subprocess.DEVNULL, stderr=errors)


def stop(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    try:
        return process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def said(directory: Path) -> str:
    return (directory / "errors").read_text()


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "zombie"


def test_what_a_parse_cannot_read_is_a_dead_letter_once(tmp_path: Path) -> None:
    steps = [{"parse": {"field": "event.message", "as": "json", "on_error": "dead_letter"}}]
    config, log = opened(path := write_config(tmp_path, {"streams": {"pay": {"id": STREAM, "steps": steps}}}))
    texts = ['{"a": 1}', "no json", '{"a": 2}']
    expected = append(log, [{"source": "s", "event": {"message": text}} for text in texts])
    drain(path)
    subprocess.run(["rm", "-r", str(tmp_path / "data" / "state")], check=True)
    log.forget_group("headrace")  # type: ignore[attr-defined] # the embedded log's own: all of it is read again
    expected += append(log, [{"source": "s", "event": {"message": "no json either"}}])
    drain(path)
    assert sorted(rows(config, "event_id, event.a")) == sorted([(expected[0], 1), (expected[2], 2)])
    table = DeltaTable(str(config.data / "dead_letters"))
    found = duckdb.sql(
        f"SELECT event_id, stream, stage, step, payload FROM read_parquet({table.file_uris()}) ORDER BY event_id"
    ).fetchall()
    assert sorted(letter[0] for letter in found) == sorted([expected[1], expected[3]])
    assert {letter[1:4] for letter in found} == {("pay", "parse", "steps[0].parse")}
    assert all('"message":"no json' in letter[4] for letter in found)


def test_no_process_imports_pandas_for_the_events_it_reads(tmp_path: Path) -> None:
    """It would be for the first array: 1.3 s of CPU time where pandas is installed, as it is here."""
    pytest.importorskip("pandas")
    _, log = opened(path := write_config(tmp_path, {}))
    append(log, [SEED_EVENT])
    drain(path, environment={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.split("|")[-1].strip() for line in (tmp_path / "worker-0.log").read_text().splitlines()}
    assert "pyarrow" in imported
    assert not [name for name in imported if name.startswith("pandas.")]
