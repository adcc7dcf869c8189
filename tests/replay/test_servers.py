"""`headrace replay` of a log in Kafka, whose positions the broker knows, and into a search server."""

from __future__ import annotations

import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition

from connectors.log import Log
from connectors.record import format_instant, now_microseconds
from flows.config import load
from tests.flows.pipelines import STREAM, append, event_ids, rows, write_config
from tests.replay.replays import MINUTE, events, live, log_of, receive, replay
from tests.services.opensearch import OpenSearch

OTHER = "22222222-2222-4333-8444-555555555555"


def on_kafka(directory: Path, kafka: str, topic: str, stream: dict[str, Any] | None = None, **more: Any) -> Path:
    """Streams `pay` and `log` in Kafka, and the tables `lake` and `copy`, of which no route names the second."""
    lakes = {
        name: {"type": "delta", "uri": str(directory / name / "{stream}"), "commit_interval": "100ms"}
        for name in ("lake", "copy")
    }
    streams = {"pay": {"id": STREAM} | (stream or {}), "log": {"id": OTHER}}
    log = {"kafka": {"bootstrap_servers": kafka, "topic": topic, "partitions": 2}}
    return write_config(directory, {"destinations": lakes | more, "streams": streams, "log": log})


@pytest.fixture(params=["one topic", "a topic a stream"])
def topic(request: pytest.FixtureRequest) -> str:
    """A topic of the test's own."""
    name = f"replay-{uuid.uuid4().hex[:12]}"
    return name if request.param == "one topic" else name + ".{stream}"


def numbers(config: Path, destination: str) -> list[int]:
    return sorted(row[0] for row in rows(load(config), "event.n", destination=destination))


def spread(log: Log, count: int, begin: int) -> None:
    """One event a minute to `pay`, and one of another stream beside each."""
    for minute in range(count):
        receive(log, events(minute, 1), begin + minute * MINUTE)
        append(log, events(1000 + minute, 1), stream=OTHER)


def test_by_time_of_receipt_what_was_received_between_comes_once(tmp_path: Path, kafka: str, topic: str) -> None:
    config = on_kafka(tmp_path, kafka, topic)
    log = log_of(config)
    begin = now_microseconds() - 60 * MINUTE
    spread(log, 10, begin)
    at = [format_instant(begin + minute * MINUTE) for minute in range(10)]
    done = replay(config, "copy", at[3], at[8])
    assert (done.finished, done.written) == (True, 5)
    assert numbers(config, "copy") == [3, 4, 5, 6, 7]
    done = replay(config, "copy", at[5])  # it overlaps what is there
    assert (done.written, done.already_there) == (2, 3)
    assert replay(config, "copy").written == 3
    assert numbers(config, "copy") == list(range(10))
    log.close()


def test_by_offsets_of_a_partition(tmp_path: Path, kafka: str, topic: str) -> None:
    config = on_kafka(tmp_path, kafka, topic)
    log = log_of(config)
    ours = list(log.partitions_of(STREAM))
    found: dict[int, list[int]] = {partition: [] for partition in ours}
    for n in range(12):
        append(log, events(n, 1))
        [partition] = [p for p in ours if log.bounds()[p][1] > len(found[p])]
        found[partition].append(n)
    one = ours[0]
    replay(config, "copy", f"{one}:1", f"{one}:4")
    assert numbers(config, "copy") == found[one][1:4]
    replay(config, "copy", "offset:2")
    assert numbers(config, "copy") == sorted({*found[one][1:], *found[ours[1]][2:]})
    log.close()


def test_the_live_table_gets_what_it_lacks_and_nothing_twice(tmp_path: Path, kafka: str, topic: str) -> None:
    config = on_kafka(tmp_path, kafka, topic, {"steps": [{"filter": "event.n < 10"}]})
    log = log_of(config)
    append(log, events(0, 10))
    for _ in range(2):
        append(log, events(10, 10), key="k")
    append(log, events(50, 1), stream=OTHER)
    live(config)
    on_kafka(tmp_path, kafka, topic)  # the filter is gone
    append(log, events(20, 10))
    done = replay(config, "lake")
    assert (done.written, done.already_there, done.repeated, done.left) == (10, 10, 10, 1)
    live(config)
    assert numbers(config, "lake") == list(range(30))
    assert set(Counter(event_ids(load(config))).values()) == {1}
    assert replay(config, "lake", "offset:0").written == 0
    assert replay(config, "copy").written == 30
    log.close()


def test_what_the_topic_has_lost_is_told(tmp_path: Path, kafka: str) -> None:
    topic = f"replay-{uuid.uuid4().hex[:12]}"
    config = on_kafka(tmp_path, kafka, topic)
    log = log_of(config)
    for n in range(12):
        append(log, events(n, 1))
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.delete_records({TopicPartition(topic, 0): 4, TopicPartition(topic, 1): 1})
    admin.close()
    done = replay(config, "copy")
    assert (done.missing, done.written) == (5, 7)
    log.close()


def searching(directory: Path, url: str, index: str, stream: dict[str, Any] | None = None, **more: Any) -> Path:
    search = {"type": "elasticsearch", "url": url, "index": index, "batch_rows": 4, **more}
    lake = {"type": "delta", "uri": str(directory / "lake" / "{stream}")}
    streams = {"pay": {"id": STREAM} | (stream or {})}
    return write_config(directory, {"destinations": {"search": search, "lake": lake}, "streams": streams})


def test_documents_are_those_of_the_events_however_often(tmp_path: Path, opensearch: OpenSearch) -> None:
    index = f"replay-{uuid.uuid4().hex[:8]}"
    route = {"routes": [{"to": ["search"]}]}
    config = searching(tmp_path, opensearch.url, index, route | {"steps": [{"filter": "event.n < 5"}]})
    log = log_of(config)
    first = append(log, events(0, 10))
    live(config)
    assert set(opensearch.documents(index)) == set(first[:5])
    searching(tmp_path, opensearch.url, index, route)  # the filter is gone
    later = append(log, events(10, 5))
    done = replay(config, "search")
    assert (done.written, done.left) == (10, 1)
    assert set(opensearch.documents(index)) == set(first)
    live(config)
    replay(config, "search", "offset:0")
    found = opensearch.documents(index)
    assert set(found) == {*first, *later}
    assert sorted(document["event"]["n"] for document in found.values()) == list(range(15))
    log.close()


def test_what_the_node_refuses_is_a_dead_letter_once(tmp_path: Path, opensearch: OpenSearch) -> None:
    index = f"strict-{uuid.uuid4().hex[:8]}"
    opensearch.call("PUT", index, {"mappings": {"properties": {"event": {"properties": {"n": {"type": "byte"}}}}}})
    config = searching(tmp_path, opensearch.url, index, {"routes": [{"to": ["lake"]}]})
    log = log_of(config)
    ids = append(log, [{"source": "a", "event": {"n": n}} for n in (1, 1000, 3)])
    done = replay(config, "search")
    assert (done.written, done.refused, done.dead_letters) == (2, 1, 1)
    assert replay(config, "search", "offset:0").dead_letters == 0
    assert set(opensearch.documents(index)) == {ids[0], ids[2]}
    log.close()
