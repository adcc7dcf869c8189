"""A table's log as a writer follows it: commits of others come between its own, and nothing is lost or doubled by that."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from connectors.errors import Fenced, Transient
from connectors.sinks import delta_table
from connectors.sinks.settings import DeltaDestination
from connectors.sinks.store import LocalStore, S3Store, Store, open_store
from connectors.sinks.upkeep import trim_log
from tests.services.seaweedfs import SeaweedFS
from tests.sinks.tables import STREAM, Dataflow, read_table
from tests.sinks.test_store import lake


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> DeltaDestination:
    """Where a table lies."""
    if request.param == "local":
        return DeltaDestination(uri=f"{tmp_path}/{{stream}}")
    server: SeaweedFS = request.getfixturevalue("s3")
    return lake(server, server.make_bucket(f"log-{abs(hash(request.node.name)) % 10**9}"))


def event(**fields: Any) -> dict[str, Any]:
    return {"source": "s", "event": fields}


def table_of(place: DeltaDestination) -> DeltaTable:
    return DeltaTable(place.table_uri(STREAM), storage_options=place.storage_options())


def rows_of(place: DeltaDestination) -> list[dict[str, Any]]:
    return read_table(place.table_uri(STREAM), place.storage_options())


def ids(place: DeltaDestination) -> list[str]:
    return sorted(row["event_id"] for row in rows_of(place))


def between(monkeypatch: pytest.MonkeyPatch, other: Callable[[], object]) -> None:
    """Has `other` happen once, after the next commit has looked at the log and before it is there."""
    for kind in (LocalStore, S3Store):
        create = kind.create

        def late(store: Any, name: str, content: pa.Buffer | bytes, create: Any = create) -> bool:
            monkeypatch.undo()
            other()
            return bool(create(store, name, content))

        monkeypatch.setattr(kind, "create", late)


def test_commits_of_several_writers_come_one_after_the_other(place: DeltaDestination) -> None:
    writers = [Dataflow(place, log=f"log-{number}") for number in range(3)]
    sent = [
        identity
        for number in range(8)
        for each, writer in enumerate(writers)
        for identity in writer.take([event(a=number)], partition=each)
    ]
    assert ids(place) == sorted(sent)
    table = table_of(place)
    for each in range(3):
        assert table.transaction_version(f"headrace/log-{each}/{STREAM}/{each}") == 8


def test_a_commit_that_comes_in_between_is_read_and_ours_comes_after_it(
    place: DeltaDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, other = Dataflow(place), Dataflow(place, log="log-2")
    sent = ours.take([event(a=0)], partition=0) + other.take([event(a=0)], partition=1)
    between(monkeypatch, lambda: sent.extend(other.take([event(a=1)], partition=1)))
    sent += ours.take([event(a=1)], partition=0)
    assert ids(place) == sorted(sent)


def test_rows_of_ours_that_came_in_between_are_not_written_again(
    place: DeltaDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, twin = Dataflow(place), Dataflow(place)
    sent = ours.take([event(a=0)], offset=0)
    ours.stage([event(a=1)], offset=1)
    between(monkeypatch, lambda: sent.extend(twin.take([event(a=1)], offset=1)))
    with pytest.raises(Transient, match="same partition"):
        ours.commit()
    with pytest.raises(Fenced):
        ours.commit()
    assert ids(place) == sorted(sent)


def test_columns_that_came_in_between_are_the_tables_when_it_is_tried_again(
    place: DeltaDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, other = Dataflow(place), Dataflow(place, log="log-2")
    sent = ours.take([event(a=0)], offset=0)
    ours.stage([event(a=1)], offset=1)
    between(monkeypatch, lambda: sent.extend(other.take([event(a=1, b="x")], partition=1)))
    with pytest.raises(Transient, match="changed the table"):
        ours.commit()
    ours.writer.reset()
    sent += ours.take([event(a=1, c=True)], offset=1)
    sent += other.take([event(a=2, b="y", c=False)], partition=1)
    assert ids(place) == sorted(sent)
    assert {key for row in rows_of(place) for key in row["event"]} == {"a", "b", "c"}


def test_a_commit_that_is_there_although_it_was_refused_is_known_as_ours(
    place: DeltaDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client sends a request again when its answer is lost, and hears that the name is taken."""
    ours = Dataflow(place)
    sent = ours.take([event(a=0)])
    for kind in (LocalStore, S3Store):
        create = kind.create

        def unheard(store: Any, name: str, content: pa.Buffer | bytes, create: Any = create) -> bool:
            create(store, name, content)
            return bool(create(store, name, content))

        monkeypatch.setattr(kind, "create", unheard)
    sent += ours.take([event(a=1)]) + ours.take([event(a=2)])
    assert ids(place) == sorted(sent)


@pytest.mark.parametrize("half", [False, True], ids=["trimmed", "half trimmed"])
def test_a_writer_that_was_idle_while_the_log_was_trimmed_loses_nothing(half: bool, tmp_path: Path) -> None:
    place = DeltaDestination(uri=f"{tmp_path}/{{stream}}")
    idle, busy = Dataflow(place), Dataflow(place, log="log-2")
    sent = idle.take([event(a=0)], partition=0)
    log = tmp_path / STREAM / "_delta_log"
    newest = max(log.glob("*.json"))
    known = newest.read_bytes()
    for number in range(5):
        sent += busy.take([event(a=number)], partition=1)
    yesterday = time.time() - timedelta(days=1).total_seconds()
    for entry in log.glob("*.json"):
        os.utime(entry, (yesterday, yesterday))
    trim_log(table_of(place))
    assert not list(log.glob("*02.json"))
    if half:  # entries go in no order
        newest.write_bytes(known)
    sent += idle.take([event(a=1)], partition=0)
    sent += busy.take([event(a=9)], partition=1)
    assert ids(place) == sorted(sent)


def test_a_table_that_was_deleted_is_made_anew(place: DeltaDestination, s3: SeaweedFS) -> None:
    ours = Dataflow(place)
    ours.take([event(a=0)])
    if place.is_local:
        shutil.rmtree(place.table_uri(STREAM))
    else:
        bucket = place.uri.split("/")[2]
        for item in s3.client().list_objects_v2(Bucket=bucket)["Contents"]:
            s3.client().delete_object(Bucket=bucket, Key=item["Key"])
    sent = ours.take([event(a=1)]) + ours.take([event(a=2)])
    assert ids(place) == sorted(sent)


def test_a_commit_reads_what_has_come_since_the_last_one_and_not_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    for method in ("__init__", "update_incremental"):
        original = getattr(DeltaTable, method)

        def noted(table: DeltaTable, *given: Any, original: Any = original, **options: Any) -> None:
            opened.append(original.__name__)
            original(table, *given, **options)

        monkeypatch.setattr(DeltaTable, method, noted)
    found: list[str] = []
    find = LocalStore.find

    def counted(store: LocalStore, name: str) -> bytes | None:
        found.append(name)
        return find(store, name)

    monkeypatch.setattr(LocalStore, "find", counted)
    dataflow = Dataflow(tmp_path)
    dataflow.take([event(a=0)])
    opened.clear()
    sizes = []
    for number in range(60):
        before = len(found)
        dataflow.take([event(a=number)])
        sizes.append(len(found) - before)
    assert opened == ["__init__"] * 3  # for each checkpoint
    assert max(sizes) <= 3


def test_checkpoints_of_a_table_with_many_files_are_further_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_table, "_FILES_A_COMMIT", 1)
    dataflow = Dataflow(tmp_path)
    for number in range(62):
        dataflow.take([event(a=number)])
    checkpoints = sorted((tmp_path / STREAM / "_delta_log").glob("*.checkpoint.parquet"))
    assert [int(file.name[:20]) for file in checkpoints] == [20, 40]
    assert len(read_table(tmp_path / STREAM)) == 62


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_a_file_is_found_or_not_there(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    settings = DeltaDestination(uri=f"{tmp_path}/{{stream}}")
    if kind == "s3":
        server: SeaweedFS = request.getfixturevalue("s3")
        settings = lake(server, server.make_bucket("log-found"))
    store: Store = open_store(settings, STREAM)
    assert store.find("a/b.json") is None
    assert store.create("a/b.json", b"{}")
    assert store.find("a/b.json") == b"{}"
    assert not store.create("a/b.json", b"{1}")


def test_a_store_that_cannot_be_read_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / STREAM / "a.json").mkdir(parents=True)
    with pytest.raises(Transient, match="reading"):
        open_store(DeltaDestination(uri=f"{tmp_path}/{{stream}}"), STREAM).find("a.json")
