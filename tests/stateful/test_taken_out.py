"""A stream with a memory that the configuration names no more, or under another name, while there was still something to send."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from connectors.log import Log
from connectors.merging import MergedReader
from flows.stateful.lanes import store_files
from flows.stateful.store import Store
from tests.flows.pipelines import STREAM, append, drain, landed_so_far, letters, opened, rows, run_until, write_config
from tests.stateful.test_lanes import WINDOW, Sender, assert_exact

OTHER = "22222222-2222-4333-8444-555555555555"
ROLLUP = {"name": "per_key", "every": "10s", "by": ["event.k"], "aggregate": {"n": "count(*)"}, "to": ["lake"]}


def configured(directory: Path, **streams: Any) -> Path:
    lake = {"type": "delta", "uri": str(directory / "lake" / "{stream}"), "commit_interval": "200ms"}
    log = {"embedded": {"path": str(directory / "log"), "partitions": 4}}
    every = {"other": {"id": OTHER}, **streams}
    return write_config(directory, {"log": log, "destinations": {"lake": lake}, "streams": every})


def block(directory: Path) -> Path:
    file = directory / "lake"
    file.write_text("a file where a directory should be")
    return file


def has_read(log: Log) -> bool:
    ends = {partition: end for partition, (_, end) in log.bounds().items() if end}
    read = log.committed("headrace.pay")
    return all(
        read.get(partition, 0) == ends[partition] for partition in log.partitions_of(STREAM) if partition in ends
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_what_it_held_and_what_waited_for_its_table_arrives(
    end: signal.Signals, processes: int, tmp_path: Path
) -> None:
    path = configured(tmp_path, pay={"id": STREAM, "steps": [WINDOW]})
    config, log = opened(path)
    lake = block(tmp_path)
    sender = Sender(log, 3)
    sender.send(40, late=False)
    run_until(path, lambda: has_read(log), end=end, processes=processes)
    path = configured(tmp_path)
    late = append(log, [{"source": "s", "event": {"k": "k1", "v": 1}}])
    lake.unlink()
    drain(path, processes=processes)
    drain(path, processes=processes)  # and nothing comes of it again
    assert_exact(config, sender)
    assert [letter["event_id"] for letter in letters(config)] == late
    assert log.committed("headrace.pay") == {}, "retention waits for nobody"
    log.close()


@pytest.mark.timeout(300)
def test_its_rollups_end_where_it_does(tmp_path: Path) -> None:
    path = configured(tmp_path, pay={"id": STREAM, "rollups": [ROLLUP]})
    config, log = opened(path)
    sent = append(log, [{"source": "s", "event": {"k": "a", "v": n}} for n in range(7)])
    run_until(path, lambda: landed_so_far(config) == sent, end=signal.SIGTERM)
    path = configured(tmp_path)
    drain(path)
    drain(path)
    assert sum(n for (n,) in rows(config, "n", "pay_per_key")) == len(sent)
    table = DeltaTable(str(tmp_path / "lake" / "pay_per_key"))
    assert "source" not in [field.name for field in table.schema().fields], "its columns are a rollup's"
    log.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
@pytest.mark.parametrize("steps", [[WINDOW], []], ids=["with a memory", "without"])
def test_under_another_name_each_event_is_in_one_of_its_tables(
    steps: list[Any], end: signal.Signals, tmp_path: Path
) -> None:
    path = configured(tmp_path, pay={"id": STREAM, "steps": [WINDOW]})
    config, log = opened(path)
    lake = block(tmp_path)
    sender = Sender(log, 4)
    sender.send(20, late=False)
    run_until(path, lambda: has_read(log), end=end)
    path = configured(tmp_path, payments={"id": STREAM, "steps": steps})
    first = [identity for identity, *_ in sender.sent]
    sender.pause()
    sender.send(20, late=False)
    lake.unlink()
    drain(path)
    drain(path)
    assert Counter(landed_so_far(config)) == Counter(first)
    both = landed_so_far(config) + landed_so_far(config, stream="payments")
    assert Counter(both) == Counter(identity for identity, *_ in sender.sent)
    assert letters(config) == []
    log.close()


@pytest.mark.timeout(300)
def test_one_that_loses_its_memory_no_longer_keeps_the_log_from_being_deleted(tmp_path: Path) -> None:
    path = configured(tmp_path, pay={"id": STREAM, "steps": [WINDOW]})
    config, log = opened(path)
    sender = Sender(log, 5)
    sender.send(10, late=False)
    run_until(path, lambda: has_read(log), end=signal.SIGTERM)
    path = configured(tmp_path, pay={"id": STREAM})
    drain(path)
    drain(path)  # what tables may have from before the first start is settled only now
    assert Counter(landed_so_far(config)) == Counter(identity for identity, *_ in sender.sent)
    assert log.committed("headrace.pay") == {}
    with_store = store_files(config.data, log.identity)["pay"]
    store = Store(with_store)
    assert store.is_done
    store.close()
    log.close()


def test_what_was_still_to_be_read_is_read_when_it_has_a_memory_again(tmp_path: Path) -> None:
    """And what others had read meanwhile is not."""
    store = Store(tmp_path / "pay.db", {0: 2, 1: 5})
    store.hand_over({0: 6, 1: 3})
    assert store.handover == {0: 6, 1: 5}
    store.take_back({0: 9, 1: 8}, {})
    assert store.positions == {0: 2, 1: 8}
    assert store.others == [(0, 6, 9)]
    store.close()


def test_what_others_have_read_is_passed_over(tmp_path: Path) -> None:
    path = configured(tmp_path, pay={"id": STREAM, "steps": [WINDOW]})
    _, log = opened(path)
    sent = [append(log, [{"source": "s", "event": {"n": n}}])[0].rpartition("-")[0] for n in range(40)]
    theirs = [(partition, 2, 4) for partition in range(4)]
    reader = MergedReader(log, STREAM, "pay", {}, 0, "test", None, theirs)
    merged = reader.read(1 << 20)
    found = [(p >> 48, p & ((1 << 48) - 1)) for p in pa.array(merged.places).to_pylist()]
    assert not [at for at in found if 2 <= at[1] < 4]
    ends = {partition: end for partition, (_, end) in log.bounds().items()}
    assert len(found) == len(sent) - sum(max(0, min(end, 4) - 2) for end in ends.values())
    assert merged.positions == ends
    reader.close()
    log.close()
