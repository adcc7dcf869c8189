"""Indexer acknowledgement by a real collector: what it told is there, and what it could not tell any more is sent again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.sinks.batching import Batching
from connectors.sinks.splunk_hec.endpoint import SplunkHecEndpoint
from connectors.sinks.splunk_hec.settings import SplunkHecDestination
from connectors.values import Secret
from tests.flows.pipelines import Worker, until
from tests.services.otel import AcknowledgingCollector
from tests.services.web import Request
from tests.siem.between import ACK, Between, between
from tests.siem.test_from_configuration import configured, fill, opened
from tests.sinks.sending import Sending, event, ids, rows_of, settled

MANY = 6_000

pytestmark = pytest.mark.timeout(1_500)  # the first of them builds the collector


def to(url: str, **more: Any) -> SplunkHecEndpoint:
    return SplunkHecEndpoint(SplunkHecDestination(**{"url": url, "token": Secret("any"), "ack": True, **more}))


def numbers(collector: AcknowledgingCollector) -> list[int]:
    return [int(one["event"]["event"]["n"]) for one in collector.received()]


def killed_once(collector: AcknowledgingCollector, when: Callable[[Request], bool]) -> Callable[[Request], None]:
    """Kills the collector before the first request of those, with what it has in memory, and starts it again."""
    over, lock = threading.Event(), threading.Lock()

    def look(request: Request) -> None:
        with lock:
            if not over.is_set() and when(request):
                over.set()
                collector.kill()
                collector.holds = False
                collector.start()

    return look


def of_acknowledgements(request: Request) -> bool:
    return request.path.startswith(ACK)


def test_what_is_acknowledged_has_arrived_all_and_in_order(
    any_acknowledging: AcknowledgingCollector, tmp_path: Path
) -> None:
    collector = any_acknowledging
    trusted = {"ca_file": collector.authority.ca} if collector.tls else {}
    out = Sending(to(collector.url, **trusted), tmp_path, Batching(rows=2_000))
    rows = rows_of(*[[event(n) for n in range(k, k + 500)] for k in range(0, MANY, 500)])
    out.deliver(rows)
    settled(lambda: len(collector.received()) >= MANY, "all events")
    assert numbers(collector) == list(range(MANY))
    assert [one["fields"]["event_id"] for one in collector.received()] == ids(rows)
    first = collector.received()[0]
    assert first["fields"]["stream"] == "payments"
    assert (first["com.splunk.source"], first["com.splunk.sourcetype"]) == ("app", "_json")
    assert first["time"] == 1739370735.5
    out.writer.close()


def test_each_number_is_asked_for_in_its_channel_until_it_is_acknowledged(
    acknowledging: AcknowledgingCollector, tmp_path: Path
) -> None:
    floors = []
    with between(acknowledging.url) as front:
        out = Sending(to(front.url), tmp_path, Batching(rows=100, concurrency=4))
        front.before = lambda request: floors.append(out.writer.floor(0)) if of_acknowledgements(request) else None
        for k in range(5):
            end = out.hand_over(rows_of([event(n) for n in range(k * 100, k * 100 + 100)], first=k))
            out.writer.commit(everything=True)
            settled(lambda end=end: out.writer.floor(0) == end, "the floor")  # type: ignore[misc]
        out.writer.close()
    given, told = by_channel(front)
    assert sum(map(len, given.values())) == 5
    assert told == given
    assert floors == list(range(5))  # nothing counts as delivered before the answer to that


def by_channel(front: Between) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """The numbers that were given with the answers to events, and those that were acknowledged, in their order."""
    given: dict[str, list[int]] = {}
    told: dict[str, list[int]] = {}
    for one in front.exchanges:
        if not one.about_acknowledgements:
            given.setdefault(one.channel, []).append(one.answered["ackId"])
            continue
        assert set(one.answered["acks"]) == {str(number) for number in json.loads(one.asked)["acks"]}
        told.setdefault(one.channel, []).extend(int(n) for n, indexed in one.answered["acks"].items() if indexed)
    return given, told


def test_killed_between_the_answer_and_the_acknowledgement_it_is_sent_again(
    acknowledging: AcknowledgingCollector, tmp_path: Path
) -> None:
    acknowledging.holds = True
    acknowledging.restart()
    with between(acknowledging.url) as front:
        front.before = killed_once(acknowledging, of_acknowledgements)
        out = Sending(to(front.url, ack_timeout=timedelta(seconds=1)), tmp_path)
        out.deliver(rows_of([event(n) for n in range(500)]))
        out.writer.close()
    settled(lambda: len(numbers(acknowledging)) >= 500, "every event")
    assert numbers(acknowledging) == list(range(500))
    [first, second] = [one for one in front.exchanges if not one.about_acknowledgements]
    assert first.asked == second.asked
    assert first.channel != second.channel  # what the first would be told is of another life


def test_without_acknowledgement_what_it_had_only_in_memory_is_lost(
    acknowledging: AcknowledgingCollector, tmp_path: Path
) -> None:
    """What `ack` is for: nobody can tell that this went missing."""
    acknowledging.holds = True
    acknowledging.restart()
    out = Sending(to(acknowledging.url, ack=False), tmp_path)
    out.deliver(rows_of([event(n) for n in range(500)]))
    acknowledging.kill()
    acknowledging.holds = False
    acknowledging.start()
    out.deliver(rows_of([event(500)], first=1))
    out.writer.close()
    settled(lambda: numbers(acknowledging) == [500], "the event after the kill")


def test_killed_between_two_parts_of_a_batch_it_counts_anew_and_loses_none_of_them(
    acknowledging: AcknowledgingCollector, tmp_path: Path
) -> None:
    """An event too long makes parts of a batch. Both parts are number 1: one before the kill, the other after it."""
    acknowledging.holds, acknowledging.max_body = True, 20_000
    acknowledging.restart()
    rows = rows_of([event(0), event(1, pad="x" * 20_000), event(2)])
    with between(acknowledging.url) as front:

        def taken_once(request: Request) -> bool:
            return any("ackId" in one.answered for one in front.exchanges) and not of_acknowledgements(request)

        front.before = killed_once(acknowledging, taken_once)
        out = Sending(to(front.url, ack_timeout=timedelta(seconds=1)), tmp_path)
        out.deliver(rows)
        out.writer.close()
    settled(lambda: set(numbers(acknowledging)) == {0, 2}, "both others")
    given = [one.answered["ackId"] for one in front.exchanges if "ackId" in one.answered]
    assert given[:2] == [1, 1]
    assert [letter["event_id"] for letter in out.dead()] == [ids(rows)[1]]


def test_an_event_that_it_refuses_is_a_dead_letter_and_the_others_arrive(
    acknowledging: AcknowledgingCollector, tmp_path: Path
) -> None:
    acknowledging.max_body = 50_000
    acknowledging.restart()
    rows = rows_of([event(n, pad="x" * (60_000 if n in (3, 7) else 10)) for n in range(10)])
    out = Sending(to(acknowledging.url), tmp_path)
    out.deliver(rows)
    out.writer.close()
    assert [letter["event_id"] for letter in out.dead()] == [ids(rows)[n] for n in (3, 7)]
    assert "code 6" in out.dead()[0]["error"]  # it does not say which event, so halves find it
    settled(lambda: len(numbers(acknowledging)) >= 8, "the others")
    assert sorted(set(numbers(acknowledging))) == [0, 1, 2, 4, 5, 6, 8, 9]


def test_killed_collector_and_killed_dataflow_lose_nothing(
    acknowledging: AcknowledgingCollector, tmp_path: Path, monkeypatch: Any
) -> None:
    """From headrace.yaml. What the collector had taken and not told goes with it; the dataflow goes before it was told."""
    monkeypatch.setenv("HEC_TOKEN", "any")
    acknowledging.holds = True
    acknowledging.restart()
    with between(acknowledging.url) as front:
        front.before = killed_once(acknowledging, of_acknowledgements)
        siem = {"type": "splunk_hec", "url": front.url, "token": "${HEC_TOKEN}", "ack": True, "ack_timeout": "1s"}
        path = configured(tmp_path, siem)
        _, log = opened(path)
        made = fill(log, 10)
        worker = Worker(path, 0, 1)
        try:
            until(lambda: {one["fields"]["event_id"] for one in acknowledging.received()} == set(made), 120, what="all")
            asked = threading.Event()

            def die(request: Request) -> None:
                if of_acknowledgements(request) and not asked.is_set():
                    asked.set()
                    worker.kill()

            front.before = die
            acknowledging.kill()
            acknowledging.holds = True
            acknowledging.start()
            made += fill(log, 10, first=10)
            until(asked.is_set, 120, what="the question that the dataflow did not hear the answer to")
            acknowledging.kill()
            acknowledging.holds = False
            acknowledging.start()
            worker = Worker(path, 0, 1)
            until(lambda: {one["fields"]["event_id"] for one in acknowledging.received()} == set(made), 120, what="all")
        finally:
            worker.kill()
