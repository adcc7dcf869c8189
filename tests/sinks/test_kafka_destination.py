"""The destination `kafka`, from the YAML to a real broker."""

from __future__ import annotations

import json
import signal
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from connectors.sinks.batching import Batching
from connectors.sinks.kafka.endpoint import KafkaEndpoint
from connectors.sinks.kafka.settings import KafkaDestination
from flows.config import check
from tests.flows.pipelines import STREAM, append, drain, opened, until, write_config
from tests.services.kafka import KafkaBroker
from tests.sinks.sending import Sending, event, ids, rows_of


def records(bootstrap: str, topic: str) -> list[Any]:
    """All records of a topic, partition by partition."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    try:
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        wanted = sum(consumer.end_offsets(partitions).values())
        found: list[Any] = []
        while len(found) < wanted:
            for some in consumer.poll(timeout_ms=1000).values():
                found += some
        return found
    finally:
        consumer.close()


def test_events_are_records_with_their_key_and_id(tmp_path: Path, kafka: str) -> None:
    name = f"clean-{uuid.uuid4().hex[:8]}"
    topic = {"type": "kafka", "bootstrap_servers": kafka, "topic": f"{name}.{{stream}}", "key": "event.user"}
    stream = {"id": STREAM, "routes": [{"to": ["topic"]}]}
    _, log = opened(
        path := write_config(
            tmp_path, {"streams": {"pay": stream}, "destinations": {"topic": topic | {"partitions": 3}}}
        )
    )
    expected = append(log, [{"source": "a", "event": {"n": n, "user": f"u{n % 2}"}} for n in range(20)])
    drain(path)
    found = records(kafka, f"{name}.pay")
    assert sorted(dict(record.headers)["event_id"].decode() for record in found) == sorted(expected)
    assert {dict(record.headers)["stream"] for record in found} == {b"pay"}
    for user in (b"u0", b"u1"):
        of_user = [json.loads(record.value)["event"]["n"] for record in found if record.key == user]
        assert of_user == list(range(int(user[1:]), 20, 2))
        assert len({record.partition for record in found if record.key == user}) == 1
    assert {json.loads(record.value)["event_id"] for record in found} == set(expected)


def test_a_record_that_the_topic_does_not_take_is_a_dead_letter(tmp_path: Path, kafka: str) -> None:
    topic = f"small-{uuid.uuid4().hex[:8]}"
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "20000"})])
    admin.close()
    settings = KafkaDestination(bootstrap_servers=kafka, topic=topic, compression="none", batch_rows=1)
    rows = rows_of([event(1)], [event(2, text="x" * 50_000)], [event(3)])
    sending = Sending(KafkaEndpoint(settings), tmp_path, Batching(rows=1))
    sending.deliver(rows)
    [letter] = sending.dead()
    assert letter["event_id"] == ids(rows)[1]
    assert "MessageSizeTooLarge" in letter["error"]
    assert [dict(record.headers)["event_id"].decode() for record in records(kafka, topic)] == [
        ids(rows)[0],
        ids(rows)[2],
    ]


def test_what_a_killed_broker_did_not_take_it_gets_when_it_is_back(tmp_path: Path, own_kafka: KafkaBroker) -> None:
    settings = KafkaDestination(bootstrap_servers=own_kafka.bootstrap, topic="again")
    sending = Sending(KafkaEndpoint(settings), tmp_path)
    sending.deliver(rows_of([event(0)]))
    own_kafka.kill()
    rows = rows_of(*([event(n)] for n in range(1, 30)), first=1)
    end = sending.hand_over(rows)
    until(lambda: sending.writer.trouble is not None, 120, what="trouble")
    own_kafka.start()
    until(lambda: sending.writer.floor(0) == end, 120, what="the floor")
    found = [dict(record.headers)["event_id"].decode() for record in records(own_kafka.bootstrap, "again")]
    assert set(found) == {*ids(rows_of([event(0)])), *ids(rows)}


def test_what_a_silent_broker_did_not_acknowledge_is_sent_anew_in_order(tmp_path: Path, own_kafka: KafkaBroker) -> None:
    settings = KafkaDestination(bootstrap_servers=own_kafka.bootstrap, topic="silent", timeout=timedelta(seconds=1))
    sending = Sending(KafkaEndpoint(settings), tmp_path, Batching(rows=5))
    sending.deliver(rows_of([event(0)]))
    own_kafka.signal(signal.SIGSTOP)
    rows = rows_of(*([event(n)] for n in range(1, 30)), first=1)
    end = sending.hand_over(rows)
    until(lambda: sending.writer.trouble is not None, 120, what="trouble")
    time.sleep(3)
    own_kafka.signal(signal.SIGCONT)
    until(lambda: sending.writer.floor(0) == end, 120, what="the floor")
    found = [dict(record.headers)["event_id"].decode() for record in records(own_kafka.bootstrap, "silent")]
    last = {each: place for place, each in enumerate(found)}
    wanted = [*ids(rows_of([event(0)])), *ids(rows)]
    assert last.keys() == set(wanted)
    assert sorted(wanted, key=last.__getitem__) == wanted


BAD = [
    ({"bootstrap_servers": "x:1", "topic": "a b"}, "only the characters"),
    ({"bootstrap_servers": "x:1", "topic": "{event.a}"}, "events could choose any name"),
    ({"bootstrap_servers": "x:1", "key": "offset"}, "is no part of an event"),
    ({"bootstrap_servers": "x:1", "options": {"acks": 0}}, "is headrace's to set"),
    ({"bootstrap_servers": "x:1", "options": {"askc": 0}}, "is no option"),
    ({}, "missing: 'bootstrap_servers'"),
]


@pytest.mark.parametrize(("settings", "what"), BAD)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, settings: dict[str, Any], what: str) -> None:
    stream = {"id": STREAM, "routes": [{"to": ["topic"]}]}
    topic = {"type": "kafka", **settings}
    problems = check(write_config(tmp_path, {"streams": {"pay": stream}, "destinations": {"topic": topic}}))
    [problem] = [problem for problem in problems if problem.severity == "error"]
    assert what in str(problem)
    assert problem.path.startswith("destinations.topic")
