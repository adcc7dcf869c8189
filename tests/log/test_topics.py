"""A topic a stream: the log's partitions keep their numbers, whatever becomes of the topics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest
from kafka import KafkaAdminClient

from connectors.batch import LINES
from connectors.errors import Unavailable
from connectors.log import KafkaLogSettings, Log, LogSettings
from connectors.record import Record, new_request_id, now_microseconds
from connectors.sinks import dead_letters
from tests.log.conftest import kafka_settings, topics_settings
from tests.log.records import everything

LINE = {"request_id": "r", "index": 0, "received_at": 0, "_offset": 7, "line": "{}"}
Opened = Callable[[LogSettings], Log]


@pytest.fixture
def admin(kafka: str) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=kafka)
    yield client
    client.close()


@pytest.fixture
def base(kafka: str) -> KafkaLogSettings:
    return kafka_settings(kafka, partitions=2)


def test_each_stream_has_a_topic_and_its_partitions_are_found(
    base: KafkaLogSettings, opened: Opened, admin: KafkaAdminClient
) -> None:
    log = opened(topics_settings(base, {"a": "pay", "b": "web"}))
    assert [log.append(_record(stream)).topic for stream in "abab"] == [f"{base.topic}.{n}" for n in ("pay", "web") * 2]
    assert {f"{base.topic}.pay", f"{base.topic}.web"} <= set(admin.list_topics())
    found = everything(log)
    for stream, name in (("a", "pay"), ("b", "web")):
        own = log.partitions_of(stream)
        assert [log.place(number) for number in own] == [(f"{base.topic}.{name}", 0), (f"{base.topic}.{name}", 1)]
        assert [each.stream for number in own for _, each in found[number]] == [stream] * 2


def test_a_new_stream_changes_no_partitions_number(base: KafkaLogSettings, opened: Opened) -> None:
    before = opened(topics_settings(base, {"m": "m", "n": "n"}))
    numbers = {stream: list(before.partitions_of(stream)) for stream in "mn"}
    after = opened(topics_settings(base, {"a": "a", "m": "m", "n": "n"}))
    assert {stream: list(after.partitions_of(stream)) for stream in "mn"} == numbers
    assert list(after.partitions_of("a")) == [4, 5]
    assert after.identity == before.identity


def test_a_stream_is_taken_while_the_log_is_open(base: KafkaLogSettings, opened: Opened) -> None:
    log = opened(topics_settings(base, {"m": "m"}))
    log.append(_record("m"))
    with pytest.raises(Unavailable, match="no Kafka topic for the stream 'a'"):
        log.append(_record("a"))
    log.take(topics_settings(base, {"m": "m", "a": "a"}))
    assert log.append(_record("a")).partition in log.partitions_of("a")
    assert log.append(_record("m")).partition in log.partitions_of("m")


def test_a_topic_that_grows_gets_numbers_of_its_own_for_the_new_partitions(
    base: KafkaLogSettings, opened: Opened, admin: KafkaAdminClient
) -> None:
    settings = topics_settings(base, {"m": "m", "n": "n"})
    assert list(opened(settings).partitions_of("m")) == [0, 1]
    admin.create_partitions({f"{base.topic}.m": 3})
    log = opened(settings)
    assert list(log.partitions_of("m")) == [0, 1, 4]
    assert list(log.partitions_of("n")) == [2, 3]


def test_the_partitions_of_a_topic_that_was_deleted_hold_nothing_and_one_made_anew_is_another(
    base: KafkaLogSettings, opened: Opened, admin: KafkaAdminClient
) -> None:
    log = opened(topics_settings(base, {"m": "m", "n": "n"}))
    gone, kept = log.append(_record("m")), log.append(_record("n"))
    admin.delete_topics([f"{base.topic}.m"])
    fewer = opened(topics_settings(base, {"n": "n"}))
    found = everything(fewer, {gone.partition: 1})
    assert [len(found[p]) for p in range(4)].count(1) == 1
    assert len(found[kept.partition]) == 1
    anew = opened(topics_settings(base, {"m": "m", "n": "n"}))
    assert list(anew.partitions_of("m")) == [4, 5]
    assert list(anew.partitions_of("n")) == list(log.partitions_of("n"))


def test_processes_that_begin_at_once_agree_on_the_numbers(base: KafkaLogSettings, opened: Opened) -> None:
    settings = topics_settings(base, {name: name for name in "abcdef"})
    logs = [opened(settings) for _ in range(4)]
    found: list[list[tuple[str, int]]] = []

    def look(log: Log) -> None:
        deadline = time.monotonic() + 50
        while True:
            try:
                return found.append([log.place(number) for number in range(log.partitions)])
            except Unavailable:  # a process is started again; this broker is a slow one
                assert time.monotonic() < deadline

    threads = [threading.Thread(target=look, args=(log,)) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    late = opened(settings)
    whole = [late.place(number) for number in range(late.partitions)]
    assert len(whole) == len(set(whole)) == 12
    assert found == [whole] * 4


def test_what_a_group_committed_is_found_by_number(base: KafkaLogSettings, opened: Opened) -> None:
    log = opened(topics_settings(base, {"a": "pay", "b": "web"}))
    for stream in "aabb":
        log.append(_record(stream))
    reader = log.reader([1, 2], {}, group="p")
    reader.commit({1: 1, 2: 1})
    reader.close()
    assert log.committed("p") == {1: 1, 2: 1}


def _record(stream: str) -> Record:
    return Record(stream, new_request_id(), now_microseconds(), 1, b"{}")


def test_a_dead_letter_names_the_topic_and_the_partition_in_it(base: KafkaLogSettings, opened: Opened) -> None:
    log = opened(topics_settings(base, {"a": "pay", "b": "web"}))
    lines = pa.table({name: [values] for name, values in LINE.items()}, schema=LINES)
    letters = dead_letters.of_lines(
        lines, stage="parse", error="e", stream="web", partition=3, config_version="v", payload=True
    )
    [row] = dead_letters.placed(letters, log.place).to_pylist()
    assert (row["topic"], row["partition"], row["offset"]) == (f"{base.topic}.web", 1, 7)
