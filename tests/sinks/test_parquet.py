"""Plain Parquet: each event in a file once, whatever fails; few files; columns that every file agrees on."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from connectors.errors import ConfigError, Fenced, Transient
from connectors.sinks import parquet, parquet_table
from connectors.sinks.parquet import ParquetWriter
from connectors.sinks.settings import ParquetDestination
from connectors.sinks.store import LocalStore, open_store
from connectors.values import Secret
from tests.services.process import free_ports
from tests.services.rclone import Rclone
from tests.services.seaweedfs import SeaweedFS
from tests.sinks.tables import STREAM, Dataflow, dead_letters_below, read_table, rescued
from tests.sinks.test_store import careless_store, lake

__all__ = ["careless_store"]  # a fixture


def event(day: int = 12, **fields: Any) -> dict[str, Any]:
    return {"timestamp": f"2025-02-{day:02d}T01:00:00Z", "source": "s", "event": fields}


def files_in(place: Path | str, **more: Any) -> ParquetDestination:
    return ParquetDestination(uri=f"{place}/{{stream}}", **more)


def dataflow(place: Path | ParquetDestination, *, schema: str = "evolve", rejects: Any = None) -> Dataflow:
    """A process with a Parquet destination: it starts knowing nothing, as after a restart."""
    settings = place if isinstance(place, ParquetDestination) else files_in(place)
    writer = ParquetWriter(settings, "log-1", schemas={STREAM: schema}, rejects=rejects)
    return Dataflow("unused", writer=writer)


def read(place: Path) -> list[dict[str, Any]]:
    query = f"FROM read_parquet('{place}/{STREAM}/**/*.parquet', union_by_name = true) ORDER BY event_id"
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        return engine.sql(query).to_arrow_table().to_pylist()  # type: ignore[no-any-return]


def ids(place: Path) -> list[str]:
    return [row["event_id"] for row in read(place)]


def files(place: Path) -> list[str]:
    return sorted(str(file.relative_to(place / STREAM)) for file in place.rglob("*.parquet"))


def test_rows_land_by_date_with_the_columns_of_a_table(tmp_path: Path) -> None:
    sent = dataflow(tmp_path).take([event(day=12, a=1), event(day=13, a=2, b={"c": [1.5]})])
    assert [file.split("/")[0] for file in files(tmp_path)] == ["date=2025-02-12", "date=2025-02-13"]
    rows = read(tmp_path)
    assert [row["event_id"] for row in rows] == sent
    assert [str(row["date"]) for row in rows] == ["2025-02-12", "2025-02-13"]
    assert rows[1]["event"] == {"a": 2, "b": {"c": [1.5]}}
    Dataflow(tmp_path / "delta").take([event(a=1, b={"c": [1.5]})])
    [row] = read_table(tmp_path / "delta" / STREAM)
    assert set(row) == set(rows[0])


def test_pandas_spark_and_polars_style_reading_of_the_directory_works(tmp_path: Path) -> None:
    dataflow(tmp_path).take([event(day=12, a=1), event(day=13, a=2)])
    table = ds.dataset(tmp_path / STREAM, partitioning="hive").to_table()
    assert table.num_rows == 2
    assert str(table.schema.field("timestamp").type) == "timestamp[us, tz=UTC]"
    [file, _] = tmp_path.rglob("*.parquet")
    assert pq.read_metadata(file).row_group(0).column(0).compression == "ZSTD"


def test_a_restart_skips_what_the_files_have_date_by_date(tmp_path: Path) -> None:
    first = dataflow(tmp_path)
    sent = first.take([event(day=12, a=1), event(day=13, a=1)], offset=4)
    sent += first.stage([event(day=13, a=2)], offset=5)  # staged and lost
    again = dataflow(tmp_path)
    again.stage([event(day=12, a=1), event(day=13, a=1)], offset=4)
    again.stage([event(day=13, a=2)], offset=5)
    sent += again.take([event(day=12, a=3), event(day=14, a=3)], offset=6)
    assert ids(tmp_path) == sorted(set(sent))
    assert len(files(tmp_path)) == 5


def test_partitions_and_lanes_beyond_32_bits_are_told_apart(tmp_path: Path) -> None:
    lane = 2**32 + 7
    sent = dataflow(tmp_path).take([event(a=1)], partition=0, offset=3)
    sent += dataflow(tmp_path).take([event(a=1)], partition=1, offset=3)
    one = dataflow(tmp_path)
    assert one.writer.floor(lane) is None
    for offset in (0, 1):
        table = one.stage([event(a=offset)], partition=3, offset=offset)
        sent += table
    one.writer.commit(everything=True)
    big = dataflow(tmp_path)
    rows = _rows_of(big, [event(a=9)], offset=12)
    big.writer.stage(lane, rows, 13)
    assert big.writer.floor(lane) == 12
    big.commit()
    assert big.writer.floor(lane) == 13
    restarted = dataflow(tmp_path)
    restarted.writer.stage(lane, rows, 13)
    restarted.commit()
    assert len(ids(tmp_path)) == len(sent) + 1


def _rows_of(flow: Dataflow, events: list[Any], *, offset: int) -> Any:
    """What `Dataflow.stage` would hand over."""
    taken: list[Any] = []
    writer, flow.writer = flow.writer, type("Taking", (), {"stage": lambda _, p, rows, n: taken.append(rows)})()
    flow.stage(events, partition=99, offset=offset)
    flow.writer = writer
    return taken[0]


def test_a_file_waits_for_rows_bytes_or_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    for module in (parquet, parquet_table):
        monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    hour = timedelta(hours=1)
    flow = dataflow(files_in(tmp_path, roll_rows=5, roll_age=hour, roll_idle=timedelta(seconds=10)))

    def written_after(events: int, seconds: float) -> bool:
        before = len(files(tmp_path))
        if events:
            flow.stage([event(a=1)] * events)
        clock[0] += seconds
        flow.writer.commit(everything=False)
        return len(files(tmp_path)) > before

    assert not written_after(4, 1)
    assert written_after(1, 1), "enough rows"
    assert not written_after(1, 11), "quiet, but a file was written less than an hour ago"
    assert written_after(1, 3600), "old enough"
    clock[0] += 7200
    assert written_after(1, 11), "quiet, and no file for an hour"
    assert not written_after(0, 7200), "nothing to write"
    big = dataflow(files_in(tmp_path / "big", roll_bytes=1_000, roll_age=hour))
    big.stage([event(a="x" * 2_000)])
    big.writer.commit(everything=False)
    assert len(files(tmp_path / "big")) == 1


def test_late_events_of_old_dates_make_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    for module in (parquet, parquet_table):
        monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    flow = dataflow(tmp_path)  # roll_age 5m
    for number in range(120):  # ten minutes, every five seconds an event of today and one of three old dates
        clock[0] += 5
        flow.stage([event(day=10 + number % 3, a=number), event(day=20, a=number)])
        flow.writer.commit(everything=False)
    flow.commit()
    assert len(ids(tmp_path)) == 240
    assert len(files(tmp_path)) <= 4 * 3


def test_many_small_batches_do_not_become_many_small_tables_in_memory(tmp_path: Path) -> None:
    flow = dataflow(tmp_path)
    for number in range(150):
        flow.stage([event(a=number)])
    [(_, part)] = flow.writer._waiting()
    assert len(part.pieces) < 70
    flow.commit()
    assert len(ids(tmp_path)) == 150


def test_what_waits_is_bounded_and_the_largest_parts_go_first(tmp_path: Path) -> None:
    flow = dataflow(files_in(tmp_path, buffer_bytes=20_000))
    flow.stage([event(day=1, a="small")])
    flow.stage([event(day=2, a="x" * 1_000)] * 30)
    flow.writer.commit(everything=False)
    assert [file.split("/")[0] for file in files(tmp_path)] == ["date=2025-02-02"]
    assert flow.writer.floor(0) == 0
    flow.commit()
    assert flow.writer.floor(0) == 2


def test_parts_that_wait_are_bounded_in_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MAX_PARTS", 5)
    flow = dataflow(tmp_path)
    flow.stage([event(day=day, a=1) for day in range(1, 13)])
    flow.writer.commit(everything=False)
    assert len(flow.writer._waiting()) == 5
    assert len(files(tmp_path)) == 7


def test_a_column_keeps_its_type_in_every_file_and_the_rest_is_rescued(tmp_path: Path) -> None:
    dataflow(tmp_path).take([event(a=1)], offset=0)
    dataflow(tmp_path).take([event(a=2.5, b="new"), event(a=3)], offset=1)
    dataflow(tmp_path).take([event(a="x", b=True)], partition=1, offset=0)
    rows = read(tmp_path)
    assert sorted((row["event"]["a"] or 0) for row in rows) == [0, 0, 1, 3]
    assert {json.dumps(rescued(row)) for row in rows if row["_rescued"]} == {
        '{"event.a": 2.5}',
        '{"event.a": "x", "event.b": true}',
    }
    types = {str(pq.read_schema(file).field("event").type.field("a").type) for file in tmp_path.rglob("*.parquet")}
    assert types == {"int64"}
    assert ds.dataset(tmp_path / STREAM, partitioning="hive").count_rows() == 4


def test_two_processes_that_meet_a_new_field_at_once_agree_on_its_type(tmp_path: Path) -> None:
    dataflow(tmp_path).take([event(a=1)], offset=0)
    one, two = dataflow(tmp_path), dataflow(tmp_path)
    for flow, partition in ((one, 0), (two, 1)):  # both know the same schema
        flow.take([event(a=2)], partition=partition, offset=5)
    one.stage([event(n=1)], partition=0, offset=6)
    two.stage([event(n="text")], partition=1, offset=6)
    one.commit()
    two.commit()
    rows = [row for row in read(tmp_path) if row["event"]["a"] is None]
    assert sorted((row["event"]["n"], row["_rescued"]) for row in rows if row["event"]["n"]) == [(1, None)]
    assert [rescued(row) for row in rows if row["_rescued"]] == [{"event.n": "text"}]


def test_what_a_strict_schema_rejects_is_a_dead_letter_once_for_each_date(tmp_path: Path) -> None:
    def strict() -> Dataflow:
        letters = dead_letters_below(tmp_path)
        return dataflow(tmp_path, schema="reject", rejects=letters)

    strict().take([event(day=12, a=1), event(day=13, a=1)], offset=0)
    for _ in range(2):
        flow = strict()
        flow.stage([event(day=13, a="later date, lower offset")], offset=1)
        flow.stage([event(day=12, a="x"), event(day=12, a=2)], offset=2)
        flow.commit()
    letters = read_table(tmp_path / "dlq" / "dead_letters")
    assert sorted((letter["offset"], letter["index"]) for letter in letters) == [(1, 0), (2, 0)]
    assert [row["event"]["a"] for row in read(tmp_path)] == [1, 1, 2]


def test_the_second_of_two_writers_of_a_partition_is_fenced(tmp_path: Path) -> None:
    first, second = dataflow(tmp_path), dataflow(tmp_path)
    sent = first.take([event(a=0)], offset=0)
    second.stage([event(a=0)], offset=0)
    first.stage([event(a=1)], offset=1)
    sent += second.take([event(a=2)], offset=2)
    with pytest.raises(Fenced, match="is there already"):
        first.commit()
    assert sorted(set(ids(tmp_path))) == ids(tmp_path)


def test_a_write_that_failed_halfway_leaves_nothing_and_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = dataflow(tmp_path)
    flow.stage([event(a=1)], offset=0)
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(Transient, match="No space left"):
        flow.commit()
    assert [file for file in tmp_path.rglob("*") if file.suffix in (".parquet", ".tmp")] == []
    assert flow.writer.floor(0) == 0
    monkeypatch.undo()
    flow.commit()
    assert len(ids(tmp_path)) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / STREAM).mkdir(mode=0o500)
    with pytest.raises(Transient, match="Permission denied"):
        dataflow(tmp_path).take([event(a=1)])


def test_a_place_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / STREAM).write_text("in the way")
    with pytest.raises(Transient, match="Not a directory"):
        dataflow(tmp_path).take([event(a=1)])


def test_a_write_that_happened_but_was_not_acknowledged_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = LocalStore.create

    def unacknowledged(store: LocalStore, name: str, content: Any) -> bool:
        create(store, name, content)
        if name.endswith(".parquet"):
            raise Transient("the connection was reset")
        return True

    flow = dataflow(tmp_path)
    monkeypatch.setattr(LocalStore, "create", unacknowledged)
    sent = flow.stage([event(a=1)], offset=0)
    with pytest.raises(Transient):
        flow.commit()
    monkeypatch.undo()
    with pytest.raises(Fenced):  # the same process must not write it again under another name
        flow.commit()
    flow.writer.reset()
    assert flow.writer.floor(0) is None
    flow.stage([event(a=1)], offset=0)
    sent += flow.take([event(a=2)], offset=1)
    assert ids(tmp_path) == sent


def in_bucket(server: SeaweedFS | Rclone, bucket: str, **changed: Any) -> ParquetDestination:
    of_lake = lake(server, bucket)
    names = ("uri", "endpoint", "region", "access_key_id", "secret_access_key")
    return ParquetDestination(**{**{name: getattr(of_lake, name) for name in names}, **changed})


def test_files_in_an_object_store_hold_each_event_once(s3: SeaweedFS, tmp_path: Path) -> None:
    settings = in_bucket(s3, s3.make_bucket("parquet-once"), uri="s3://parquet-once/raw/{stream}")
    sent = dataflow(settings).take([event(day=12, a=1), event(day=13, a=1)], offset=0)
    again = dataflow(settings)
    again.stage([event(day=12, a=1), event(day=13, a=1)], offset=0)
    sent += again.take([event(day=12, a=2.5, b="new")], offset=1)
    late = dataflow(settings)
    late.stage([event(day=12, a=2.5, b="new")], offset=1)
    late.stage([event(day=12, a=4)], offset=2)
    store = open_store(settings, STREAM)
    [_, newest] = sorted(store.names("date=2025-02-12"))
    client = s3.client()
    found = [item["Key"] for item in client.list_objects_v2(Bucket="parquet-once")["Contents"]]
    for key in found:
        target = tmp_path / key
        target.parent.mkdir(parents=True, exist_ok=True)
        client.download_file("parquet-once", key, str(target))
    assert ids(tmp_path / "raw") == sorted(sent)
    assert not [key for key in found if "probe" in key]
    # A write that was given up and arrives after all has the name that the next one wants.
    stolen = newest.replace(newest.split("-")[-1], f"{2:020d}.parquet")
    assert store.create(f"date=2025-02-12/{stolen}", store.read(f"date=2025-02-12/{newest}"))
    with pytest.raises(Fenced, match="is there already"):
        late.commit()


def test_a_store_that_ignores_conditional_puts_is_refused(careless_store: Rclone) -> None:
    with pytest.raises(ConfigError, match="If-None-Match"):
        dataflow(in_bucket(careless_store, "events")).stage([event(a=1)])


def test_a_store_that_is_down_is_tried_again(own_s3: SeaweedFS) -> None:
    settings = in_bucket(own_s3, own_s3.make_bucket("parquet-down"))
    flow = dataflow(settings)
    sent = flow.take([event(a=1)], offset=0)
    sent += flow.stage([event(a=2)], offset=1)
    own_s3.kill()
    with pytest.raises(Transient, match="date=2025-02-12"):
        flow.commit()
    own_s3.start()
    flow.writer.reset()
    flow.stage([event(a=1)], offset=0)
    flow.take([event(a=2)], offset=1)
    assert len(open_store(settings, STREAM).names("date=2025-02-12")) == 2


def test_an_address_nobody_listens_at_is_transient() -> None:
    [port] = free_ports(1)
    settings = files_in("s3://events", endpoint=f"http://127.0.0.1:{port}", access_key_id="a")
    with pytest.raises(Transient, match="cannot be reached"):
        dataflow(
            ParquetDestination(
                uri=settings.uri,
                endpoint=settings.endpoint,
                region="us-east-1",
                access_key_id="a",
                secret_access_key=Secret("b"),
            )
        ).stage([event(a=1)])
