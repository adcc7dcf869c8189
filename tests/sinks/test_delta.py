"""Delta tables: each event once, whatever fails between the staging of its row and the commit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from connectors.errors import Fenced, Transient
from connectors.sinks import delta_table
from connectors.sinks.base import Rows
from connectors.sinks.delta import DeltaWriter
from connectors.sinks.delta_open import OpenTable
from connectors.sinks.delta_table import TableWriter
from connectors.sinks.settings import DeltaDestination
from connectors.telemetry import DEAD_LETTERS
from tests.logged import logged
from tests.sinks.tables import STREAM, Dataflow, dead_letters_below, read_table, rescued


def event(**fields: Any) -> dict[str, Any]:
    return {"source": "s", "event": fields}


def ids(lake: Path) -> list[str]:
    return sorted(row["event_id"] for row in read_table(lake / STREAM))


def test_a_restart_skips_what_the_table_has(tmp_path: Path) -> None:
    Dataflow(tmp_path).take([event(a=1), event(a=2)], offset=0)
    restarted = Dataflow(tmp_path)
    sent = restarted.stage([event(a=1), event(a=2)], offset=0) + restarted.stage([event(a=3)], offset=1)
    restarted.commit()
    assert ids(tmp_path) == sent


def test_a_restart_skips_what_the_table_has_of_a_partition_that_comes_after_the_first_commit(tmp_path: Path) -> None:
    before = Dataflow(tmp_path)
    landed = before.stage([event(a=1)], partition=0, offset=0) + before.stage([event(a=2)], partition=1, offset=0)
    before.commit()
    restarted = Dataflow(tmp_path)
    landed += restarted.take([event(a=3)], partition=0, offset=1)
    restarted.take([event(a=2)], partition=1, offset=0)
    landed += restarted.take([event(a=2, b=1)], partition=1, offset=1)
    assert ids(tmp_path) == sorted(landed)


def test_partitions_go_into_one_commit_each_with_its_offset(tmp_path: Path) -> None:
    dataflow = Dataflow(tmp_path)
    dataflow.take([event(a=0)], partition=0)
    before = DeltaTable(str(tmp_path / STREAM)).version()
    for partition in range(5):
        dataflow.stage([event(a=1)], partition=partition, offset=10 + partition)
    dataflow.commit()
    table = DeltaTable(str(tmp_path / STREAM))
    assert table.version() == before + 1
    assert [table.transaction_version(f"headrace/log-1/{STREAM}/{p}") for p in range(5)] == [11, 12, 13, 14, 15]


def test_a_table_with_nothing_new_commits_nothing(tmp_path: Path) -> None:
    dataflow = Dataflow(tmp_path)
    dataflow.take([event(a=0)])
    before = DeltaTable(str(tmp_path / STREAM)).version()
    dataflow.commit()
    assert DeltaTable(str(tmp_path / STREAM)).version() == before


def test_the_second_of_two_writers_of_a_partition_is_fenced(tmp_path: Path) -> None:
    first, second = Dataflow(tmp_path), Dataflow(tmp_path)
    first.take([event(a=0)], offset=0)
    second.stage([event(a=1)], offset=1)
    sent = first.take([event(a=1)], offset=1)
    with pytest.raises(Fenced, match="another dataflow"):
        second.commit()
    assert ids(tmp_path)[1:] == sent


def test_files_without_their_commit_are_invisible_and_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataflow = Dataflow(tmp_path)
    first = dataflow.take([event(a=0)], offset=0)

    def orphans(table: OpenTable, rows: Any, *given: Any, **options: Any) -> None:
        folder = tmp_path / "elsewhere"
        write_deltalake(str(folder), rows, mode="append")  # the files are written, the commit is not
        for file in folder.rglob("*.parquet"):
            file.rename(tmp_path / STREAM / file.name)
        raise OSError("killed")

    monkeypatch.setattr(OpenTable, "append", orphans)
    dataflow.stage([event(a=1)], offset=1)
    with pytest.raises(Transient):
        dataflow.commit()
    assert ids(tmp_path) == first
    monkeypatch.undo()
    assert ids(tmp_path) == first
    second = Dataflow(tmp_path).take([event(a=1)], offset=1)
    assert ids(tmp_path) == first + second


def test_a_commit_that_happened_but_was_not_acknowledged_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = OpenTable.append

    def unacknowledged(*given: Any, **options: Any) -> None:
        write(*given, **options)
        raise OSError("the connection was reset")

    dataflow = Dataflow(tmp_path)
    monkeypatch.setattr(OpenTable, "append", unacknowledged)
    sent = dataflow.stage([event(a=1)], offset=0)
    with pytest.raises(Transient):
        dataflow.commit()
    monkeypatch.undo()
    with pytest.raises(Fenced):  # the same process must not try again: what it holds is there
        dataflow.commit()
    Dataflow(tmp_path).take([event(a=1)], offset=0)
    assert ids(tmp_path) == sent


def test_the_floor_is_the_lowest_offset_that_is_held(tmp_path: Path) -> None:
    dataflow = Dataflow(tmp_path)
    assert dataflow.writer.floor(0) is None
    dataflow.stage([event(a=1)], offset=3)
    dataflow.stage([event(a=1)], offset=7)
    assert dataflow.writer.floor(0) == 3
    dataflow.commit()
    assert dataflow.writer.floor(0) == 8


def test_a_look_is_about_the_tables_that_hold_rows_and_not_about_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kept:
        def stage(self, partition: int, rows: list[Rows], next_offset: int) -> None:
            writer.stage(partition, [Rows(stream, part.table) for part in rows for stream in streams], next_offset)

    writer = DeltaWriter(DeltaDestination(uri=f"{tmp_path}/{{stream}}"), "log-1")
    streams = ["s0", "s1", "s2", "s3"]
    dataflow = Dataflow(tmp_path, writer=Kept())
    dataflow.stage([event(a=1)], offset=0)
    writer.commit(everything=True)
    streams = ["s2"]
    dataflow.stage([event(a=2)], offset=5)
    asked: list[str] = []
    first_held = TableWriter.first_held

    def noted(table: TableWriter, partition: int) -> int | None:
        asked.append(table._stream)
        return first_held(table, partition)

    monkeypatch.setattr(TableWriter, "first_held", noted)
    assert writer.floor(0) == 5
    assert writer.held_bytes > 0
    assert asked == ["s2"]
    writer.commit(everything=True)
    assert (writer.floor(0), writer.held_bytes, asked) == (6, 0, ["s2"])


def test_old_log_entries_do_not_slow_a_commit_down(tmp_path: Path) -> None:
    dataflow = Dataflow(tmp_path)
    for number in range(45):
        dataflow.take([event(a=number)])
    log = tmp_path / STREAM / "_delta_log"
    checkpoints = sorted(int(file.name[:20]) for file in log.glob("*.checkpoint.parquet"))
    assert len(checkpoints) >= 2
    assert all(later - earlier <= 20 for earlier, later in zip([0, *checkpoints], checkpoints, strict=False))
    assert len(ids(tmp_path)) == 45


def test_a_checkpoint_that_cannot_be_written_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: DeltaTable) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(DeltaTable, "create_checkpoint", fails)
    dataflow = Dataflow(tmp_path)
    with logged() as lines:
        sent = [identity for number in range(25) for identity in dataflow.take([event(a=number)])]
    assert ids(tmp_path) == sorted(sent)
    assert [line["event"] for line in lines] == ["no checkpoint was written"]


@pytest.mark.parametrize(
    "source",
    [
        *("a/b", "../up", "é ü", " ", "a=b", "%2F", ".", "..", "🙂", "a\nb", "'", "\0", "x" * 200, "x" * 250),
        *("é" * 300, "🙂" * 1_000, "%" * 251, "z" * 900_000),
    ],
    ids=lambda source: ascii(source)[:12] + str(len(source)),
)
def test_partitions_by_source_keep_any_source(tmp_path: Path, source: str) -> None:
    settings = DeltaDestination(uri=f"{tmp_path}/{{stream}}", partition_by=("date", "source"))
    dataflow = Dataflow(settings)
    dataflow.take([{"source": source, "event": {"a": 1}}, {"source": "plain", "event": {"a": 2}}])
    dataflow.take([{"source": source, "event": {"a": 3, "b": 1}}])
    rows = read_table(tmp_path / STREAM)
    assert sorted((row["source"], row["event"]["a"]) for row in rows) == sorted(
        [(source, 1), ("plain", 2), (source, 3)]
    )


def test_the_first_and_the_last_year_are_dates_like_any_other(tmp_path: Path) -> None:
    stamps = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1582-10-10T00:00:00Z"]
    Dataflow(tmp_path).take([{"timestamp": stamp, **event(a=1)} for stamp in stamps])
    rows = read_table(tmp_path / STREAM)
    assert sorted(str(row["date"]) for row in rows) == ["0001-01-01", "1582-10-10", "9999-12-31"]
    assert sorted(row["timestamp"].year for row in rows) == [1, 1582, 9999]


def test_schema_rescue_adds_no_column(tmp_path: Path) -> None:
    dataflow = Dataflow(tmp_path, schema="rescue")
    dataflow.take([event(a=1)])
    dataflow.take([event(a=2, b=3, o={"p": [1]})])
    row = next(row for row in read_table(tmp_path / STREAM) if row["_rescued"])
    assert row["event"] == {"a": 2}
    assert rescued(row) == {"event.b": 3, "event.o": {"p": [1]}}


def test_what_a_strict_schema_rejects_is_a_dead_letter_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dataflow() -> Dataflow:
        letters = dead_letters_below(tmp_path)
        return Dataflow(tmp_path, schema="reject", rejects=letters)

    dataflow().take([event(a=1)], offset=0)
    crashing = dataflow()
    crashing.stage([event(a=2), event(a="x", b=1)], offset=1)
    write = OpenTable.append

    def killed(table: OpenTable, *given: Any, **options: Any) -> None:
        if "dlq" not in table.uri:
            raise OSError("killed")
        write(table, *given, **options)

    monkeypatch.setattr(OpenTable, "append", killed)
    with pytest.raises(Transient):
        crashing.commit()
    monkeypatch.undo()
    restarted = dataflow()
    restarted.take([event(a=2), event(a="x", b=1)], offset=1)
    dataflow().take([event(a=2), event(a="x", b=1)], offset=1)
    letters = read_table(tmp_path / "dlq" / "dead_letters")
    assert [(letter["stage"], letter["partition"], letter["offset"], letter["index"]) for letter in letters] == [
        ("schema", 0, 1, 1)
    ]
    payload = json.loads(letters[0]["payload"])
    assert payload["source"] == "s"
    assert payload["_rescued"] == {"event.a": "x", "event.b": 1}
    assert sorted(row["event"]["a"] for row in read_table(tmp_path / STREAM)) == [1, 2]


def test_what_a_strict_schema_rejects_of_several_batches_is_all_there(tmp_path: Path) -> None:
    """A table is committed with the rows of many batches, whose columns differ."""
    letters = dead_letters_below(tmp_path)
    dataflow = Dataflow(tmp_path, schema="reject", rejects=letters)
    dataflow.take([event(a=1)], offset=0)
    for offset, odd in enumerate([{"a": "x"}, {"b": 1}, {"a": "y"}, {"c": {"d": 1}}], start=1):
        dataflow.stage([event(**odd)], offset=offset)
    dataflow.commit()
    found = read_table(tmp_path / "dlq" / "dead_letters")
    assert sorted(letter["offset"] for letter in found) == [1, 2, 3, 4]


def test_what_a_strict_schema_rejects_only_when_it_comes_again_is_a_dead_letter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process ends before a new table's first commit, after its letters; the next one's has fewer rows and columns."""

    def dataflow() -> Dataflow:
        letters = dead_letters_below(tmp_path)
        return Dataflow(tmp_path, schema="reject", rejects=letters)

    crashing, restarted = dataflow(), dataflow()
    events = [event(a=1), event(a="x"), event(a=2, b=1)]
    create = delta_table.TableWriter._create

    def away(writer: delta_table.TableWriter, schema: pa.Schema) -> DeltaTable:
        if "dlq" not in writer._uri:
            raise OSError("away")
        return create(writer, schema)

    for offset, one in enumerate(events):
        crashing.stage([one], offset=offset)
    with monkeypatch.context() as patch:
        patch.setattr(delta_table.TableWriter, "_create", away)
        with pytest.raises(Transient):
            crashing.commit()
    for offset, one in enumerate(events):
        restarted.take([one], offset=offset)
    found = read_table(tmp_path / "dlq" / "dead_letters")
    assert sorted(letter["offset"] for letter in found) == [1, 2]
    assert [row["event"] for row in read_table(tmp_path / STREAM)] == [{"a": 1}]


@pytest.mark.parametrize("fails", ["dlq", STREAM])
def test_what_a_strict_schema_rejects_is_counted_once_however_often_its_commit_is_tried(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = dead_letters_below(tmp_path)
    dataflow = Dataflow(tmp_path, schema="reject", rejects=letters)
    dataflow.take([event(a=1)], offset=0)
    before = DEAD_LETTERS.labels(STREAM, "schema")._value.get()
    write = OpenTable.append

    def away(table: OpenTable, *given: Any, **options: Any) -> None:
        if fails in table.uri.rstrip("/").split("/"):
            raise OSError("away")
        write(table, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(OpenTable, "append", away)
        for _ in range(3):
            dataflow.stage([event(a="x")], offset=1)
            with pytest.raises(Transient):
                dataflow.commit()
            dataflow.writer.reset()
    dataflow.take([event(a="x")], offset=1)
    dataflow.take([event(a="y")], offset=2)
    assert DEAD_LETTERS.labels(STREAM, "schema")._value.get() - before == 2


def test_dead_letters_whose_commit_is_not_acknowledged_are_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = dead_letters_below(tmp_path)
    dataflow = Dataflow(tmp_path, schema="reject", rejects=letters)
    dataflow.take([event(a=1)], offset=0)
    before = DEAD_LETTERS.labels(STREAM, "schema")._value.get()
    write = OpenTable.append
    answered: list[str] = []

    def unanswered(table: OpenTable, *given: Any, **options: Any) -> None:
        write(table, *given, **options)
        if "dlq" in table.uri:
            answered.append(table.uri)
            raise OSError("the connection was reset")

    monkeypatch.setattr(OpenTable, "append", unanswered)
    dataflow.take([event(a="x"), event(a="y")], offset=1)
    dataflow.take([event(a="z")], offset=2)
    assert len(answered) == 2
    assert len(read_table(tmp_path / "dlq" / "dead_letters")) == 3
    assert DEAD_LETTERS.labels(STREAM, "schema")._value.get() - before == 3
