"""The Kafka log in bad weather, and what its configuration may not say."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from connectors.errors import ConfigError, HeadraceError, Unavailable
from connectors.log import KafkaLogSettings, Log, LogSettings, Reader
from connectors.log.kafka import KafkaLog
from tests.log.conftest import kafka_settings
from tests.log.records import everything, record
from tests.logged import logged
from tests.services.kafka import KafkaBroker

Opened = Callable[[LogSettings], Log]


def test_appends_are_refused_while_the_broker_is_down_and_work_again_when_it_is_back(
    own_kafka: KafkaBroker, opened: Opened
) -> None:
    log = opened(kafka_settings(own_kafka.bootstrap, ack_timeout=3.0))
    log.append(record(b"before"))
    own_kafka.kill()
    with pytest.raises(Unavailable, match="did not acknowledge"):
        log.append(record(b"meanwhile"))
    with pytest.raises(Unavailable):
        _past_its_recent_acknowledgement(log)
    own_kafka.start()
    _until_it_appends(log, b"after")
    log.check()
    values = {each.value for rows in everything(log).values() for _, each in rows}
    assert {b"before", b"after"} <= values


def test_a_batch_that_was_sent_and_expired_unanswered_stops_nothing_that_comes_later(
    own_kafka: KafkaBroker, opened: Opened
) -> None:
    """kafka-python's producer then waits for a new id for ever, and acknowledges nothing any more."""
    log = opened(kafka_settings(own_kafka.bootstrap, ack_timeout=1.0, partitions=1))
    _until_it_appends(log, b"before")
    own_kafka.signal(signal.SIGSTOP)
    for _ in range(3):
        assert not _appends(log, b"meanwhile")
        time.sleep(0.5)
    own_kafka.signal(signal.SIGCONT)
    _until_it_appends(log, b"after")
    assert _appends(log, b"and on")


def test_requests_that_come_together_are_one_batch(own_kafka: KafkaBroker, opened: Opened) -> None:
    log = opened(kafka_settings(own_kafka.bootstrap, options={"linger_ms": 1_000}))
    log.append(record(b"first"))  # connected, and its turn is over
    with ThreadPoolExecutor(8) as threads:
        positions = list(threads.map(lambda _: log.append(record()), range(8)))
    assert len({position.partition for position in positions}) == 1
    assert len({position.offset for position in positions}) == 8


def test_a_log_made_while_the_broker_is_down_works_once_it_is_up(own_kafka: KafkaBroker, opened: Opened) -> None:
    own_kafka.kill()
    log = opened(kafka_settings(own_kafka.bootstrap, ack_timeout=2.0))
    for _ in range(2):
        with pytest.raises(Unavailable, match="cannot be reached"):
            log.append(record())
    with pytest.raises(Unavailable):
        log.check()
    own_kafka.start()
    _until_it_appends(log, b"after")
    log.check()


def test_a_reader_says_that_the_broker_is_away_or_nothing_and_reads_on_when_it_is_back(
    own_kafka: KafkaBroker, opened: Opened
) -> None:
    log = opened(kafka_settings(own_kafka.bootstrap, ack_timeout=3.0, partitions=1))
    log.append(record(b"0"))
    reader = log.reader([0], {}, group="p")
    assert _values(reader, 1) == [b"0"]
    own_kafka.restart()
    _until_it_appends(log, b"1")
    assert _values(reader, 1) == [b"1"]
    reader.close()


def test_a_broker_that_answers_nothing_is_found_out_in_time(opened: Opened) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        log = opened(kafka_settings(f"127.0.0.1:{silent.getsockname()[1]}", ack_timeout=1.0))
        with pytest.raises(Unavailable):
            log.append(record())
        with pytest.raises(Unavailable):
            log.check()


def test_past_the_bytes_in_flight_an_append_is_refused_at_once(own_kafka: KafkaBroker, opened: Opened) -> None:
    import threading

    log = opened(kafka_settings(own_kafka.bootstrap, max_in_flight_bytes=2_097_152, ack_timeout=4.0))
    log.append(record())
    own_kafka.kill()
    refusals: list[str] = []

    def send() -> None:
        with pytest.raises(Unavailable) as refused:
            log.append(record(b"x" * 1_000_000))
        refusals.append(refused.value.what)

    threads = [threading.Thread(target=send) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum("bytes already wait" in refusal for refusal in refusals) == 3
    own_kafka.start()
    _until_it_appends(log, b"after")  # what was given up is no longer counted as in flight
    deadline = time.monotonic() + 30
    while not _appends(log, b"x" * 1_000_000):
        assert time.monotonic() < deadline


def test_records_of_somebody_else_are_passed_over_counted_and_told(kafka: str, opened: Opened) -> None:
    settings = kafka_settings(kafka, partitions=1)
    log = opened(settings)
    log.append(record(b"0"))
    stranger = KafkaProducer(bootstrap_servers=kafka)
    ours = record(b"x").headers()
    for headers in ([], [("v", b"2"), *ours[:-1]], [*ours[:2], ("received-at", b"yesterday")], [("stream", b"\xff")]):
        stranger.send(settings.topic, b"a secret", headers=headers, partition=0).get(timeout=20)
    stranger.send(settings.topic, None, key=b"a tombstone", partition=0).get(timeout=20)
    stranger.close()
    log.append(record(b"1"))
    with logged() as logs:
        rows = everything(log)[0]
    assert [(offset, each.value) for offset, each in rows] == [(0, b"0"), (6, b"1")]
    assert [entry["offset"] for entry in logs if entry["event"] == "malformed_record_skipped"] == [1, 2, 3, 4, 5]
    assert "secret" not in str(logs)


def test_a_reader_reaches_the_end_past_the_marks_of_a_transaction(kafka: str, opened: Opened) -> None:
    settings = kafka_settings(kafka, partitions=1)
    log = opened(settings)
    log.append(record(b"0"))
    stranger = KafkaProducer(bootstrap_servers=kafka, transactional_id=settings.topic)
    stranger.init_transactions()
    stranger.begin_transaction()
    stranger.send(settings.topic, b"given up", headers=record().headers(), partition=0)
    stranger.abort_transaction()
    stranger.close()
    assert [each.value for _, each in everything(log)[0]] == [b"0"]


def test_records_that_retention_deleted_are_told_not_skipped(kafka: str, opened: Opened) -> None:
    settings = kafka_settings(kafka, partitions=1)
    log = opened(settings)
    for _ in range(10):
        log.append(record())
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.delete_records({TopicPartition(settings.topic, 0): 7})
    admin.close()
    with pytest.raises(HeadraceError, match=r"4 records .* were deleted before 'p' read them"):
        log.reader([0], {0: 3}, group="p").read(0, max_bytes=1)
    assert [offset for offset, _ in everything(log)[0]] == [7, 8, 9]


def test_a_partition_whose_records_were_all_deleted_is_read_to_its_end(kafka: str, opened: Opened) -> None:
    settings = kafka_settings(kafka, partitions=1)
    log = opened(settings)
    log.append(record())
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.delete_records({TopicPartition(settings.topic, 0): 1})
    admin.close()
    assert everything(log) == {0: []}
    log.append(record(b"next"))
    assert [each.value for _, each in everything(log)[0]] == [b"next"]


def test_a_topic_that_exists_is_used_as_it_is(kafka: str, opened: Opened) -> None:
    settings = kafka_settings(kafka)
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.create_topics({settings.topic: {"num_partitions": 5, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    log = opened(settings)
    assert log.partitions == 5
    assert {log.append(record()).partition for _ in range(10)} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("compression", ["none", "gzip", "lz4", "zstd"])
def test_every_compression_brings_back_what_was_sent(kafka: str, opened: Opened, compression: str) -> None:
    log = opened(kafka_settings(kafka, compression=compression, partitions=1))
    log.append(record(b"value" * 1000))
    assert [each.value for _, each in everything(log)[0]] == [b"value" * 1000]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"acks": 1}}, "acks is headrace's to set"),
        ({"options": {"ssl_ca": "x"}}, "ssl_ca is no option of kafka-python"),
        ({"options": {"linger_ms": "5ms"}}, "linger_ms is not a number of milliseconds"),
        ({"options": {"linger_ms": -1}}, "linger_ms is not a number of milliseconds"),
        ({"options": {"batch_size": "1MB"}}, "batch_size is not a number of bytes"),
        ({"options": {"batch_size": True}}, "batch_size is not a number of bytes"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        KafkaLog(KafkaLogSettings(bootstrap_servers="localhost:9", **changes))  # type: ignore[arg-type]


def _past_its_recent_acknowledgement(log: Log) -> None:
    """Checks until a check no longer leans on an append that was acknowledged a moment ago."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        log.check()
        time.sleep(0.05)


def _appends(log: Log, value: bytes) -> bool:
    try:
        log.append(record(value))
    except Unavailable:
        return False
    return True


def _until_it_appends(log: Log, value: bytes) -> None:
    deadline = time.monotonic() + 60
    while not _appends(log, value):
        assert time.monotonic() < deadline, "appends did not work again"
        time.sleep(0.1)


def _values(reader: Reader, count: int) -> list[bytes]:
    """The next values of partition 0, whatever the weather meanwhile."""
    values: list[bytes] = []
    deadline = time.monotonic() + 60
    while len(values) < count:
        assert time.monotonic() < deadline, f"only {values} came"
        try:
            block = reader.read(0, max_bytes=1)
        except Unavailable:
            block = None
        if block is None:
            time.sleep(0.01)
        else:
            values += [each.value for each in block.records]
    return values
