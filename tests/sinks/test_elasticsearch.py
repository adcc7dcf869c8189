"""The destination `elasticsearch`, from the YAML to a real node."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from connectors.sinks.batching import Batching
from connectors.sinks.elasticsearch.endpoint import ElasticsearchEndpoint
from connectors.sinks.elasticsearch.settings import ElasticsearchDestination
from connectors.values import Secret
from flows.config import check
from tests.flows.pipelines import STREAM, Feeder, Worker, append, drain, opened, until, write_config
from tests.services.opensearch import OpenSearch
from tests.services.web import Request, WebServer
from tests.sinks.sending import Sending, event, ids, rows_of
from tests.sinks.tables import read_table


def configured(directory: Path, url: str, **more: Any) -> Path:
    search = {"type": "elasticsearch", "url": url, **more}
    stream = {"id": STREAM, "routes": [{"to": ["search"]}]}
    return write_config(directory, {"streams": {"pay": stream}, "destinations": {"search": search}})


def sent(directory: Path, url: str, *, batch: int = 1000, **settings: Any) -> Sending:
    destination = ElasticsearchDestination(url=url, batch_rows=batch, **settings)
    return Sending(ElasticsearchEndpoint(destination), directory, Batching(rows=batch))


class Front:
    """A server in front of the node: it hands requests on, unless `answer` says otherwise."""

    def __init__(self, node: OpenSearch) -> None:
        self._node = node
        self.first: list[Any] = []
        self.needs: str | None = None
        self.server = WebServer(self._answer)

    def _answer(self, request: Request) -> Any:
        if self.needs is not None and request.headers.get("authorization") != self.needs:
            return 401
        if self.first:
            return self.first.pop(0)
        answer = urllib3.request(
            "POST",
            self._node.url + request.path,
            body=request.body,
            headers={"Content-Type": "application/x-ndjson"},
            retries=False,
        )
        return answer.status, {"Content-Type": "application/json"}, answer.data


@pytest.fixture
def front(opensearch: OpenSearch) -> Iterator[Front]:
    made = Front(opensearch)
    yield made
    made.server.stop()


def test_events_are_documents_under_their_ids(tmp_path: Path, opensearch: OpenSearch) -> None:
    _, log = opened(path := configured(tmp_path, opensearch.url, index="happy-{stream}-{event.app}"))
    expected = append(
        log,
        [
            {"source": "a", "timestamp": "2025-02-12T14:32:15Z", "event": {"n": 1, "app": "Web"}, "more": 1},
            {"source": "a", "event": {"n": 2, "app": "../x"}},
        ],
    )
    drain(path)
    first = opensearch.documents("happy-pay-web")
    assert set(first) == {expected[0]}
    document = first[expected[0]]
    assert document["@timestamp"] == document["timestamp"] == "2025-02-12T14:32:15.000000Z"
    assert (document["source"], document["stream"], document["event"]) == ("a", "pay", {"n": 1, "app": "Web"})
    assert json.loads(document["_rescued"]) == {"more": 1}
    assert set(opensearch.documents("happy-pay-_._x")) == {expected[1]}


def test_what_is_sent_again_is_there_once(tmp_path: Path, opensearch: OpenSearch) -> None:
    rows = rows_of([event(n) for n in range(100)])
    for batch in (1000, 7):
        sent(tmp_path, opensearch.url, index="again", batch=batch).deliver(rows)
    assert set(opensearch.documents("again")) == set(ids(rows))


def test_a_document_that_does_not_fit_the_mapping_is_a_dead_letter(tmp_path: Path, opensearch: OpenSearch) -> None:
    config, log = opened(path := configured(tmp_path, opensearch.url, index="mapped-{stream}"))
    opensearch.call(
        "PUT", "mapped-pay", {"mappings": {"properties": {"event": {"properties": {"n": {"type": "long"}}}}}}
    )
    expected = append(log, [{"source": "a", "event": {"n": n}} for n in (1, "two", 3)])
    drain(path)
    assert set(opensearch.documents("mapped-pay")) == {expected[0], expected[2]}
    [letter] = read_table(config.data / "dead_letters")
    assert (letter["event_id"], letter["stage"], letter["destination"]) == (expected[1], "destination", "search")
    assert "mapper_parsing_exception" in letter["error"]
    assert json.loads(letter["payload"])["event"] == {"n": "two"}


def test_events_go_into_a_data_stream_once(tmp_path: Path, opensearch: OpenSearch) -> None:
    template = {"index_patterns": ["logs-ds-*"], "data_stream": {}, "priority": 500}
    opensearch.call("PUT", "_index_template/logs-ds", template)
    rows = rows_of([event(n) for n in range(50)])
    for _ in range(2):
        sending = sent(tmp_path, opensearch.url, index="logs-ds-{stream}", op="create")
        sending.deliver(rows)
        assert sending.dead() == []
    assert set(opensearch.documents("logs-ds-payments")) == set(ids(rows))


def test_rows_that_an_index_puts_off_are_sent_again_and_the_others_are_not(
    tmp_path: Path, opensearch: OpenSearch, front: Front
) -> None:
    opensearch.call("PUT", "blocked-x")
    opensearch.call("PUT", "blocked-x/_settings", {"index.blocks.read_only_allow_delete": True})
    rows = rows_of([event(n, app="x" if n % 2 else "y") for n in range(10)])
    sending = sent(tmp_path, front.server.url, index="blocked-{event.app}")
    end = sending.hand_over(rows)
    until(lambda: len(front.server.requests) > 1, what="a second request")
    assert len(opensearch.documents("blocked-y")) == 5
    assert sending.writer.floor(0) == 0
    assert "429" in str(sending.writer.trouble)
    opensearch.call("PUT", "blocked-x/_settings", {"index.blocks.read_only_allow_delete": None})
    until(lambda: sending.writer.floor(0) == end, what="the floor")
    assert len(opensearch.documents("blocked-x")) == 5
    assert [request.body.count(b"\n") for request in front.server.requests][:2] == [20, 10]


def test_a_cluster_that_has_too_much_to_do_is_asked_again(tmp_path: Path, opensearch: OpenSearch, front: Front) -> None:
    front.first = [(429, {"Retry-After": "0"}, b""), 503, 502]
    rows = rows_of([event(1)])
    sending = sent(tmp_path, front.server.url, index="busy")
    sending.deliver(rows)
    assert len(front.server.requests) == 4
    assert set(opensearch.documents("busy")) == set(ids(rows))
    assert sending.dead() == []


def test_a_request_that_is_too_large_is_sent_in_halves(tmp_path: Path, opensearch: OpenSearch, front: Front) -> None:
    front.first = [413, 413]
    rows = rows_of([event(n) for n in range(8)])
    sent(tmp_path, front.server.url, index="large").deliver(rows)
    assert [request.body.count(b"\n") // 2 for request in front.server.requests] == [8, 4, 2, 2, 4]
    assert set(opensearch.documents("large")) == set(ids(rows))


@pytest.mark.parametrize(
    ("right", "wrong", "header"),
    [
        (
            {"username": "u", "password": Secret("right")},
            {"username": "u", "password": Secret("wrong")},
            f"Basic {b64encode(b'u:right').decode()}",
        ),
        ({"api_key": Secret("right")}, {"api_key": Secret("wrong")}, "ApiKey right"),
    ],
)
def test_wrong_credentials_hold_events_back_until_they_are_right(
    tmp_path: Path, front: Front, right: Any, wrong: Any, header: str
) -> None:
    front.needs = header
    sending = sent(tmp_path, front.server.url, index="secured", **wrong)
    sending.hand_over(rows_of([event(1)]))
    until(lambda: sending.writer.trouble is not None, what="trouble")
    assert "refuses us: status 401" in str(sending.writer.trouble)
    assert "wrong" not in str(sending.writer.trouble)
    assert sending.writer.floor(0) == 0
    assert sending.dead() == []
    sent(tmp_path, front.server.url, index="secured", **right).deliver(rows_of([event(1)]))


def test_a_server_that_is_no_elasticsearch_loses_nothing(tmp_path: Path) -> None:
    server = WebServer(lambda _request: (200, {}, b"<html>"))
    sending = sent(tmp_path, server.url)
    sending.hand_over(rows_of([event(1)]))
    until(lambda: sending.writer.trouble is not None, what="trouble")
    server.stop()
    assert "0 results" in str(sending.writer.trouble)
    assert sending.writer.floor(0) == 0


def test_every_event_is_there_once_after_the_node_and_the_dataflow_were_killed(
    tmp_path: Path, own_opensearch: OpenSearch
) -> None:
    _, log = opened(path := configured(tmp_path, own_opensearch.url, index="killed", batch_rows=50))
    feeder = Feeder(log, seed=7, pause=0.6)
    worker = Worker(path, 0, 1)
    worker.wait_for("ready")
    until(lambda: len(own_opensearch.documents("killed")) > 50, what="the first documents")
    own_opensearch.kill()
    until(lambda: "does not take events" in (tmp_path / "worker-0.log").read_text(), what="word of it")
    own_opensearch.start(seconds=120)
    before = len(own_opensearch.documents("killed"))
    until(lambda: len(own_opensearch.documents("killed")) > before, what="more documents")
    worker.kill()
    expected = feeder.stop()
    assert len(expected) < 10_000
    drain(path)
    assert set(own_opensearch.documents("killed")) == set(expected)


BAD = [
    ({"url": "x"}, "neither http:// nor https://"),
    ({"url": []}, "an empty list"),
    ({"url": "http://x", "index": "Logs"}, "only the characters"),
    ({"url": "http://x", "index": "{event.app}"}, "events could choose any name"),
    ({"url": "http://x", "username": "u"}, "goes with a password"),
    ({"url": "http://x", "op": "upsert"}, "is none of index, create"),
]


@pytest.mark.parametrize(("settings", "what"), BAD)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, settings: dict[str, Any], what: str) -> None:
    stream = {"id": STREAM, "routes": [{"to": ["search"]}]}
    search = {"type": "elasticsearch", **settings}
    problems = check(write_config(tmp_path, {"streams": {"pay": stream}, "destinations": {"search": search}}))
    [problem] = [problem for problem in problems if problem.severity == "error"]
    assert what in str(problem)
    assert problem.path.startswith("destinations.search")
