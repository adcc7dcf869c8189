"""What the dataflow and the gateway rely on, of either log."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from connectors.errors import HeadraceError
from connectors.log import Log, LogSettings
from connectors.record import Replay, new_request_id, now_microseconds, replay_request_id
from tests.log.records import everything, record, writer_process

Opened = Callable[[LogSettings], Log]


def test_a_record_comes_back_as_it_was_appended(log: Log) -> None:
    sent = record(b'{"source":"a"}\n{"source":"\xc3\xa9 \xff"}', key="k")
    position = log.append(sent)
    assert everything(log)[position.partition] == [(position.offset, sent)]


def test_a_record_that_sends_an_event_again_says_whose_it_is_and_a_repeat_of_it_is_known(log: Log) -> None:
    letter = replay_request_id(["a-1", None, 7])
    whose = Replay(new_request_id(), 1_700_000_000_000_001, "hook", (2, 9))
    sent = msgspec.structs.replace(record(), request_id=letter, first_index=3, replay=whose)
    positions = [log.append(sent), log.append(record(key="k")), log.append(sent)]
    partition = positions[0].partition
    assert [row for row in everything(log)[partition] if row[1].replay] == [
        (position.offset, sent) for position in (positions[0], positions[2])
    ]
    assert (sent.as_sent.request_id, sent.as_sent.received_at) == (whose.request_id, whose.received_at)
    found = log.keyed_requests(partition, since=sent.received_at, before_offset=positions[2].offset)
    assert (sent.stream, letter, 3, sent.received_at, positions[0].offset) in found


def test_records_of_a_partition_come_in_the_order_they_were_appended(log: Log) -> None:
    positions = [log.append(record(b"%d" % number)) for number in range(60)]
    expected: dict[int, list[tuple[int, bytes]]] = {partition: [] for partition in range(3)}
    for number, position in enumerate(positions):
        expected[position.partition].append((position.offset, b"%d" % number))
    found = everything(log)
    assert {p: [(offset, each.value) for offset, each in rows] for p, rows in found.items()} == expected
    assert all(len(rows) == 20 for rows in found.values()), "records without a key are spread"


def test_a_repeat_of_a_keyed_request_follows_its_original(log: Log, settings: LogSettings, opened: Opened) -> None:
    originals = {key: log.append(record(key=key)) for key in map(str, range(30))}
    again = opened(settings)
    for key, original in originals.items():
        repeat = again.append(record(key=key))
        assert repeat.partition == original.partition
        assert repeat.offset > original.offset
    assert {position.partition for position in originals.values()} == {0, 1, 2}


def test_a_reader_begins_where_it_is_told(log: Log) -> None:
    for number in range(30):
        log.append(record(b"%d" % number))
    whole = everything(log)
    rest = everything(log, {0: 4, 1: 10})
    assert rest == {0: whole[0][4:], 1: [], 2: whole[2]}


def test_end_offsets_are_where_the_next_records_go(log: Log) -> None:
    reader = log.reader([0, 2], {}, group="g")
    assert reader.end_offsets() == {0: 0, 2: 0}
    last = {}
    for _ in range(12):
        position = log.append(record())
        last[position.partition] = position.offset
    assert reader.end_offsets() == {0: last[0] + 1, 2: last[2] + 1}
    reader.close()


def test_a_reader_sees_what_is_appended_after_it_caught_up(log: Log) -> None:
    reader = log.reader([0, 1, 2], {}, group="g")
    seen = []
    for number in range(9):
        position = log.append(record(b"%d" % number))
        seen.append(_next_value(reader, position.partition))
    assert seen == [b"%d" % number for number in range(9)]
    reader.close()


def test_a_block_holds_about_the_bytes_asked_for_and_at_least_one_record(log: Log) -> None:
    for _ in range(30):
        log.append(record(b"x" * 1000, key="all in one partition"))
    (partition,) = [p for p, end in _ends(log).items() if end]
    reader = log.reader([partition], {}, group="g")
    sizes = []
    while sum(sizes) < 30:
        block = reader.read(partition, max_bytes=5000)
        sizes += [len(block.records)] if block is not None else []
    assert max(sizes) <= 6
    assert everything(log, max_bytes=1)[partition][29][0] == 29
    reader.close()


def test_a_request_of_the_full_size_fits(log: Log) -> None:
    import os

    sent = record(os.urandom(1_048_576).replace(b"\n", b" "))
    position = log.append(sent)
    assert everything(log)[position.partition] == [(position.offset, sent)]


def test_a_log_packed_by_event_writes_one_record_an_event(settings: LogSettings, opened: Opened) -> None:
    log = opened(msgspec.structs.replace(settings, packing="event"))
    sent = record(b'{"n":0}\n{"n":1}\n{"n":2}')
    position = log.append(sent)
    rows = everything(log)[position.partition]
    assert [(each.first_index, each.count, each.value) for _, each in rows] == [
        (0, 1, b'{"n":0}'),
        (1, 1, b'{"n":1}'),
        (2, 1, b'{"n":2}'),
    ]
    assert {each.request_id for _, each in rows} == {sent.request_id}


def test_threads_append_at_once_and_each_gets_its_own_offset(log: Log) -> None:
    positions: list[tuple[int, int, bytes]] = []

    def work(name: int) -> None:
        for number in range(40):
            value = b"%d-%d" % (name, number)
            position = log.append(record(value))
            positions.append((position.partition, position.offset, value))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(positions) == 480
    found = {(p, offset, each.value) for p, rows in everything(log).items() for offset, each in rows}
    assert found == set(positions)


def test_processes_append_at_once_and_nothing_is_lost_or_doubled(settings: LogSettings, log: Log) -> None:
    writers = [writer_process(settings, name, 150) for name in ("a", "b", "c")]
    acknowledged = [line for writer in writers for line in writer.communicate(timeout=60)[0].split()]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert len(acknowledged) == 450
    found = Counter(each.value.decode() for rows in everything(log).values() for _, each in rows)
    assert found == Counter(acknowledged)


def test_what_was_acknowledged_survives_a_kill_of_the_writer(settings: LogSettings, log: Log) -> None:
    writer = writer_process(settings, "w", 1_000_000)
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline().strip() for _ in range(100)]
    writer.kill()
    acknowledged += writer.communicate(timeout=30)[0].split()
    found = Counter(each.value.decode() for rows in everything(log).values() for _, each in rows)
    assert set(acknowledged) <= set(found)
    assert max(found.values()) == 1
    assert len(found) <= len(acknowledged) + 1, "at most the one that was not yet acknowledged is there as well"
    log.append(record(b"after"))


def test_a_group_finds_what_it_committed(log: Log) -> None:
    for _ in range(9):
        log.append(record())
    assert log.committed("p") == {}
    reader = log.reader([0, 1, 2], {}, group="p")
    reader.commit({0: 2, 2: 3})
    reader.commit({0: 3})
    reader.close()
    assert log.committed("p") == {0: 3, 2: 3}
    assert log.committed("q") == {}


def test_keyed_requests_of_a_time_are_found_and_only_they(log: Log) -> None:
    now = now_microseconds()
    log.append(record(key="old", received_at=now - 7_200_000_000))
    kept = [record(key=f"k{number}", received_at=now + number) for number in range(6)]
    positions = []
    for each in kept:
        log.append(record())
        positions.append(log.append(each))
    log.append(record(key="k0", received_at=now + 10))  # a repeat, past the end that is asked for
    before = max(p.offset for p in positions if p.partition == positions[0].partition) + 1
    found = log.keyed_requests(positions[0].partition, since=now, before_offset=before)
    assert found == [
        (each.stream, each.request_id, 0, each.received_at, position.offset)
        for each, position in zip(kept, positions, strict=True)
        if position.partition == positions[0].partition
    ]


def test_a_start_past_the_end_is_refused_as_another_log(log: Log) -> None:
    log.append(record())
    with pytest.raises(HeadraceError, match="not the log that was read before"):
        log.reader([0], {0: 5}, group="p").read(0, max_bytes=1)


def test_a_log_is_told_from_another_one(log: Log, settings: LogSettings, opened: Opened) -> None:
    name = "path" if hasattr(settings, "path") else "topic"
    other = msgspec.structs.replace(settings, **{name: type(getattr(settings, name))(f"{getattr(settings, name)}.2")})
    assert log.identity == opened(settings).identity
    assert log.identity != opened(other).identity


def test_a_log_that_works_passes_its_check(log: Log) -> None:
    log.check()
    log.append(record())
    log.check()


def _ends(log: Log) -> dict[int, int]:
    reader = log.reader(range(log.partitions), {}, group="ends")
    try:
        return reader.end_offsets()
    finally:
        reader.close()


def _next_value(reader: object, partition: int) -> bytes:
    import time

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        block = reader.read(partition, max_bytes=1)  # type: ignore[attr-defined]
        if block is not None and block.records:
            return bytes(block.records[0].value)
        time.sleep(0.002)
    raise AssertionError(f"nothing came in partition {partition}")
