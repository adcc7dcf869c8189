"""The lake's maintenance: few files of many, old ones gone, wider columns; not a row lost, none doubled."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

import flows.upkeep
from connectors.errors import HeadraceError, Transient
from connectors.sinks.settings import DeltaDestination, Maintenance
from connectors.sinks.upkeep import compact, history, open_table, trim_log, vacuum
from connectors.sinks.widen import arrow_type, widen
from flows.config import load
from flows.upkeep import run_round
from tests.flows.pipelines import write_config
from tests.services.seaweedfs import SeaweedFS
from tests.sinks.tables import STREAM, STREAM_ID, Dataflow, read_table, rescued
from tests.sinks.test_store import lake

LATER = datetime.now(UTC) + timedelta(days=1)


def event(day: int = 12, source: str = "s", **fields: Any) -> dict[str, Any]:
    return {"timestamp": f"2025-02-{day:02d}T01:00:00Z", "source": source, "event": fields}


def settings_of(place: Path, **more: Any) -> DeltaDestination:
    return DeltaDestination(uri=f"{place}/{{stream}}", **more)


def opened(settings: DeltaDestination) -> DeltaTable:
    table = open_table(settings, STREAM)
    assert table is not None
    return table


def sorted_rows(settings: DeltaDestination) -> list[dict[str, Any]]:
    rows = read_table(settings.table_uri(STREAM), settings.storage_options() or None)
    return sorted(rows, key=lambda row: row["event_id"])


def test_a_cold_partition_becomes_one_file_with_the_same_rows(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    flow = Dataflow(settings)
    for number in range(12):
        flow.take([event(day=12, a=number)] + ([event(day=13, a=number, b={"c": [1]})] if number > 5 else []))
    before = sorted_rows(settings)
    [done] = compact(opened(settings), Maintenance(), now=LATER)
    assert (done.partition, done.files_before, done.files_after) == ("date=2025-02-12", 12, 1)
    assert len(opened(settings).file_uris()) == 1 + 6
    assert sorted_rows(settings) == before
    assert compact(opened(settings), Maintenance(), now=LATER) == []
    again = Dataflow(settings)  # its place in the log is still in the table
    again.stage([event(day=12, a=11)], offset=11)
    again.take([event(day=12, a=12)], offset=12)
    assert len(sorted_rows(settings)) == len(before) + 1


def test_a_partition_that_rows_come_to_waits_until_it_has_many_files(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    flow = Dataflow(settings)
    for number in range(20):
        flow.take([event(a=number)])
    assert compact(opened(settings), Maintenance(), now=datetime.now(UTC)) == []
    for number in range(50):
        flow.take([event(a=number)])
    [done] = compact(opened(settings), Maintenance(), now=datetime.now(UTC))
    assert (done.files_before, done.files_after) == (70, 1)


def test_by_hand_two_files_are_enough_in_every_kind_of_partition(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, partition_by=("date", "source"))
    flow = Dataflow(settings)
    for number in range(2):
        flow.take([event(source=source, a=number) for source in ("a/b é", "'; --", "plain", "%2F=")])
    before = sorted_rows(settings)
    done = compact(opened(settings), Maintenance(), now=datetime.now(UTC), every=True)
    assert [one.files_before for one in done] == [2, 2, 2, 2]
    assert sorted_rows(settings) == before
    whole = settings_of(tmp_path / "whole", partition_by=())
    flow = Dataflow(whole)
    for number in range(3):
        flow.take([event(day=10 + number, a=number)])
    [one] = compact(opened(whole), Maintenance(), now=datetime.now(UTC), every=True)
    assert (one.partition, one.files_before, one.files_after) == ("", 3, 1)


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_compaction_and_vacuum_beside_a_live_writer_lose_and_double_nothing(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "local":
        settings = settings_of(tmp_path)
    else:
        server: SeaweedFS = request.getfixturevalue("s3")
        settings = lake(server, server.make_bucket("upkeep-live"))
    flow = Dataflow(settings)
    sent = flow.take([event(a=0)])
    stop = threading.Event()
    work: list[int] = []
    failed: list[BaseException] = []

    def maintain() -> None:
        try:
            while not stop.is_set():
                table = opened(settings)
                work.append(sum(done.files_before for done in compact(table, Maintenance(), now=LATER, every=True)))
                vacuum(table, timedelta(hours=1))
        except BaseException as exc:  # noqa: BLE001 -- raised again below
            failed.append(exc)

    owner = threading.Thread(target=maintain)
    owner.start()
    try:
        number = 0
        # Goes on until the two have met often enough to tell something.
        while (sum(work) < 60 or number < 60) and not failed and number < 2_000:
            number += 1
            fields = {"a": number} if number % 7 else {"a": number + 0.5, f"new_{number}": True}
            sent += flow.take([event(day=12 + number % 2, **fields)])
    finally:
        stop.set()
        owner.join(60)
    if failed:
        raise failed[0]
    rows = sorted_rows(settings)
    assert [row["event_id"] for row in rows] == sorted(sent)
    assert sum(bool(row["_rescued"]) for row in rows) == number // 7
    assert sum(work) >= 60


def test_a_compaction_that_meets_a_commit_is_tried_again(tmp_path: Path) -> None:
    class Met:
        """A table whose first commits meet another's."""

        table_uri = "memory"
        optimize: Any

        def __init__(self, times: int) -> None:
            self.left = times
            self.optimize = self

        def update_incremental(self) -> None: ...

        def create_checkpoint(self) -> None: ...

        def get_add_actions(self, flatten: bool) -> pa.Table:
            return pa.table({"partition.date": ["2025-02-12"] * 9, "size_bytes": [1] * 9, "modification_time": [0] * 9})

        def compact(self, **_: Any) -> dict[str, Any]:
            self.left -= 1
            if self.left >= 0:
                raise CommitFailedError("a concurrent transaction deleted data this operation read")
            sizes = msgspec.json.encode({"totalSize": 9}).decode()
            return {"numFilesAdded": 1, "numFilesRemoved": 9, "filesRemoved": sizes, "filesAdded": sizes}

    assert len(compact(Met(2), Maintenance(), now=LATER)) == 1  # type: ignore[arg-type]
    with pytest.raises(Transient, match="tried again later"):
        compact(Met(3), Maintenance(), now=LATER)  # type: ignore[arg-type]


def test_vacuum_deletes_what_no_version_has_and_keeps_what_is_young(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    flow = Dataflow(settings)
    flow.take([event(a=1)])
    flow.take([event(a=2)])
    folder = tmp_path / STREAM / "date=2025-02-12"
    old, young = folder / "part-old.parquet", folder / "part-young.parquet"
    for file in (old, young):
        file.write_bytes(b"a file without its commit")
    past = time.time() - 2 * 3600
    os.utime(old, (past, past))
    for file in folder.iterdir():
        if file not in (old, young):
            os.utime(file, (past, past))
    assert vacuum(opened(settings), timedelta(hours=1), dry_run=True) == ["date=2025-02-12/part-old.parquet"]
    assert old.exists()
    vacuum(opened(settings), timedelta(hours=1))
    assert not old.exists()
    assert young.exists()
    assert len(sorted_rows(settings)) == 2


def test_log_entries_go_once_a_checkpoint_stands_for_them_and_the_offsets_stay(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, maintenance=Maintenance(keep_log=timedelta(hours=1)))
    flow = Dataflow(settings)
    for number in range(5):
        flow.take([event(a=number)], partition=3, offset=number)
    log = tmp_path / STREAM / "_delta_log"
    past = time.time() - 2 * 3600
    for file in log.glob("*.json"):
        os.utime(file, (past, past))
    trim_log(opened(settings))
    assert len(list(log.glob("*.json"))) == 1
    table = DeltaTable(settings.table_uri(STREAM))
    assert table.transaction_version(f"headrace/log-1/{STREAM}/3") == 5
    flow.take([event(a=5)], partition=3, offset=5)  # the writer that was there all the time
    assert len(sorted_rows(settings)) == 6


def test_a_round_trims_the_log_of_a_table_that_many_commits_have_come_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.upkeep, "TRIM_EVERY", 10)
    config = load(write_config(tmp_path, {"streams": {STREAM: {"id": STREAM_ID}}}))
    lake = tmp_path / "data" / "lake"
    log = lake / STREAM / "_delta_log"
    (tmp_path / "data" / "state").mkdir(parents=True)
    flow = Dataflow(lake)

    def entries_after(commits: int) -> int:
        for number in range(commits):
            flow.take([event(a=number)])
        past = time.time() - 86_400
        for file in log.iterdir():
            os.utime(file, (past, past))
        run_round(config)
        return len(list(log.glob("*.json")))

    assert entries_after(1) == 1  # the first round vacuums, too
    assert entries_after(9) == 10
    assert entries_after(1) == 1
    assert entries_after(5) == 6
    assert len(read_table(lake / STREAM)) == 16


def test_the_history_says_what_was_done(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    flow = Dataflow(settings)
    for number in range(2):
        flow.take([event(a=number), event(a=number)])
    compact(opened(settings), Maintenance(), now=LATER, every=True)
    newest, before, *_ = history(opened(settings), 3)
    assert (newest["operation"], newest["files_added"], newest["files_removed"]) == ("OPTIMIZE", 1, 2)
    assert (before["operation"], before["rows"], before["files_added"]) == ("WRITE", 2, 1)
    assert newest["version"] == before["version"] + 1
    assert newest["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("first", "then", "kind", "column", "left"),
    [
        (1, [2.5, "x", 3, 10**30], "DOUBLE", [1, 2.5, None, 3, None], ["x", 10**30]),
        (1, [2.5, 10**20, 3], "DECIMAL(38,2)", [1, 2.5, 10**20, 3], []),
        (1, ["A12", 2.5, True, {"o": 1}], "VARCHAR", ["1", "A12", "2.5", "true", None], [{"o": 1}]),
        (2.5, ["x", 1], "VARCHAR", ["2.5", "x", "1.0"], []),
        (True, ["no"], "VARCHAR", ["true", "no"], []),
    ],
)
def test_widening_takes_rescued_values_back_exactly(
    first: Any, then: list[Any], kind: str, column: list[Any], left: list[Any], tmp_path: Path
) -> None:
    settings = settings_of(tmp_path)
    flow = Dataflow(settings)
    flow.take([event(deep={"a": first}, other="o")])
    for value in then:
        flow.take([event(deep={"a": value}, other=7)])
    before = sorted_rows(settings)
    done = widen(opened(settings), ("event", "deep", "a"), arrow_type(kind))
    rows = sorted_rows(settings)
    assert [row["event"]["deep"] and row["event"]["deep"]["a"] for row in rows] == column
    assert [rescued(row)["event.deep.a"] for row in rows if "event.deep.a" in rescued(row)] == left
    assert [rescued(row).get("event.other") for row in rows] == [None] + [7] * len(then)
    assert done.rows == len(rows)
    assert done.still_rescued == len(left)
    assert done.taken_back == sum("event.deep.a" in rescued(row) for row in before) - len(left)
    unchanged = ("event_id", "timestamp", "received_at", "source", "date", "_sample_rate")
    assert [[row[name] for name in unchanged] for row in rows] == [[row[name] for name in unchanged] for row in before]


def test_a_dataflow_reads_on_after_a_widening_and_uses_the_new_type(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    Dataflow(settings).take([event(a=1)], offset=0)
    Dataflow(settings).take([event(a=2.5)], offset=1)
    assert sorted_rows(settings)[1]["_rescued"]
    widen(opened(settings), ("event", "a"), pa.float64())
    again = Dataflow(settings)
    again.stage([event(a=2.5)], offset=1)
    again.take([event(a=3.5), event(a=4)], offset=2)
    rows = sorted_rows(settings)
    assert [row["event"]["a"] for row in rows] == [1, 2.5, 3.5, 4]
    assert [row["_rescued"] for row in rows] == [None] * 4
    assert DeltaTable(settings.table_uri(STREAM)).metadata().partition_columns == ["date"]


@pytest.mark.parametrize(
    ("path", "kind", "says"),
    [
        (("event", "b"), "DOUBLE", "is no column"),
        (("timestamp",), "VARCHAR", "is no column"),
        (("event", "o"), "VARCHAR", "does not hold all"),
        (("event", "t"), "BIGINT", "does not hold all"),
        (("event", "a"), "BIGINT", "does not hold all"),
        (("event", "a"), "DOUBLE", "are not exactly a DOUBLE"),
        (("event", "a"), "DECIMAL(4,1)", "are not exactly"),
    ],
)
def test_what_is_not_wider_is_refused_and_nothing_changes(
    path: tuple[str, ...], kind: str, says: str, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path)
    Dataflow(settings).take([event(a=1, t="x", o={"p": 1}), event(a=2**53 + 1)])
    before, version = sorted_rows(settings), opened(settings).version()
    with pytest.raises(HeadraceError, match=says):
        widen(opened(settings), path, arrow_type(kind))
    assert opened(settings).version() == version
    assert sorted_rows(settings) == before
