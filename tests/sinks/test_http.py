"""The destination `http`, from the YAML to a real server."""

from __future__ import annotations

import hmac
import json
import re
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest

from connectors.sinks.http.endpoint import HttpEndpoint
from connectors.sinks.http.settings import HttpDestination
from connectors.values import Secret
from flows.config import check
from tests.flows.pipelines import STREAM, Worker, append, drain, opened, until, write_config
from tests.services.web import Request, WebServer
from tests.sinks.sending import Sending, event, ids, rows_of
from tests.sinks.tables import STREAM as STREAM_NAME
from tests.sinks.tables import read_table


@pytest.fixture
def server() -> Iterator[WebServer]:
    web = WebServer()
    yield web
    web.stop()


def configured(directory: Path, url: str, **more: Any) -> Path:
    out = {"type": "http", "url": url, **more}
    stream = {"id": STREAM, "routes": [{"to": ["out"]}]}
    return write_config(directory, {"streams": {"pay": stream}, "destinations": {"out": out}})


def sent(directory: Path, server: WebServer, **settings: Any) -> Sending:
    return Sending(HttpEndpoint(HttpDestination(url=server.url, **settings), lambda: 1_700_000_000.9), directory)


def events_of(request: Request) -> list[dict[str, Any]]:
    found = json.loads(request.body)
    return found if isinstance(found, list) else [found]


def test_events_are_posted_as_a_json_array(tmp_path: Path, server: WebServer) -> None:
    path = configured(tmp_path, f"{server.url}/in/{{stream}}?x=1", headers={"Authorization": "Bearer ${HOOK}"})
    environment = {"HOOK": "secret-1"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOOK", "secret-1")
        _, log = opened(path)
    expected = append(log, [{"source": "a", "event": {"n": n}} for n in range(3)])
    drain(path, environment=environment)
    [request] = server.requests
    assert (request.method, request.path) == ("POST", "/in/pay?x=1")
    assert request.headers["authorization"] == "Bearer secret-1"
    assert request.headers["content-type"] == "application/json"
    assert [(one["event_id"], one["event"], one["stream"]) for one in events_of(request)] == [
        (event_id, {"n": n}, "pay") for n, event_id in enumerate(expected)
    ]


def test_events_are_posted_as_lines(tmp_path: Path, server: WebServer) -> None:
    rows = rows_of([event(1), event(2)])
    sent(tmp_path, server, format="ndjson", compress=True, method="PUT").deliver(rows)
    [request] = server.requests
    assert (request.method, request.headers["content-encoding"]) == ("PUT", "gzip")
    assert request.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["event_id"] for line in request.body.splitlines()] == ids(rows)
    assert request.body.endswith(b"\n")


def test_events_are_posted_one_by_one_in_order(tmp_path: Path, server: WebServer) -> None:
    rows = rows_of([event(n) for n in range(5)])
    sent(tmp_path, server, format="event").deliver(rows)
    assert [request.headers["idempotency-key"] for request in server.requests] == ids(rows)
    assert [json.loads(request.body)["event"]["n"] for request in server.requests] == list(range(5))


def test_a_receiver_with_the_key_knows_who_sent_it(tmp_path: Path, server: WebServer) -> None:
    sent(tmp_path, server, sign_key=Secret("k"), compress=True).deliver(rows_of([event(1)]))
    [request] = server.requests
    digest = hmac.new(b"k", b"1700000000." + request.body, sha256).hexdigest()
    assert request.headers["x-headrace-signature"] == f"t=1700000000,v1={digest}"


def test_a_receiver_with_the_key_knows_the_body_as_github_signs_it(tmp_path: Path, server: WebServer) -> None:
    settings = {"sign_key": Secret("k"), "sign": "body", "sign_header": "X-Hub-Signature-256", "compress": True}
    sent(tmp_path, server, **settings).deliver(rows_of([event(1)]))
    [request] = server.requests
    assert request.headers["x-hub-signature-256"] == "sha256=" + hmac.new(b"k", request.body, sha256).hexdigest()


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        ({"bearer_token": Secret("abc.def")}, "Bearer abc.def"),
        ({"username": "usér", "password": Secret("p:w")}, "Basic dXPDqXI6cDp3"),
    ],
)
def test_credentials_become_a_header(
    tmp_path: Path, server: WebServer, credentials: dict[str, Any], header: str
) -> None:
    sent(tmp_path, server, **credentials).deliver(rows_of([event(1)]))
    assert server.requests[0].headers["authorization"] == header


def test_a_body_is_made_of_fields_each_of_its_type(tmp_path: Path, server: WebServer) -> None:
    body = {
        "text": "{event.user} spent {event.amount} ({event.absent})",
        "amount": "{event.amount}",
        "who": ["{event.user}", {"deep": "{event.deep}", "none": "{event.absent}", "stream": "{stream}"}],
        "fixed": {"n": 1, "yes": True, "no": None},
        "key": Secret("{not} a template"),
        "time": "{timestamp}",
    }
    user = 'Ann "A" \\ \n\u2028 O\'Neil {event.amount}'
    rows = rows_of(
        [event(1, user=user, amount=12.5, deep={"a": [1, None]})], [event(2, user="Bo", amount="much", deep=None)]
    )
    sent(tmp_path, server, body=body).deliver(rows)
    first, second = [json.loads(request.body) for request in server.requests]
    assert first == {
        "text": f"{user} spent 12.5 ()",
        "amount": 12.5,
        "who": [user, {"deep": {"a": [1, None]}, "none": None, "stream": STREAM_NAME}],
        "fixed": {"n": 1, "yes": True, "no": None},
        "key": "{not} a template",
        "time": "2025-02-12T14:32:15.500000Z",
    }
    assert (second["text"], second["amount"], second["who"][1]["deep"]) == ("Bo spent much ()", "much", None)
    assert [request.headers["idempotency-key"] for request in server.requests] == ids(rows)


def test_bodies_are_sent_together_where_the_format_says_so(tmp_path: Path, server: WebServer) -> None:
    sent(tmp_path, server, body={"n": "{event.n}"}, format="array").deliver(rows_of([event(n) for n in range(3)]))
    assert [json.loads(request.body) for request in server.requests] == [[{"n": 0}, {"n": 1}, {"n": 2}]]


def test_a_body_that_is_a_text_is_sent_as_text(tmp_path: Path, server: WebServer) -> None:
    sent(tmp_path, server, body="{event.n} of {source}\n").deliver(rows_of([event(7)]))
    [request] = server.requests
    assert (request.body, request.headers["content-type"]) == (b"7 of app\n", "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    "value",
    ["..", "../admin", "a/../../admin", "/etc", "%2e%2e%2f", "?x=1", "#f", "a b", "é", ".", "\r\nX: y", "\\", "@h"],
)
def test_no_event_leads_a_request_out_of_the_operator_s_path(tmp_path: Path, server: WebServer, value: str) -> None:
    url = f"{server.url}/teams/{{event.team}}/in.{{event.team}}?of={{event.team}}&x=1"
    settings = HttpDestination(url=url, headers={"X-Team": "<{event.team}>", "X-None": "{event.absent}"})
    Sending(HttpEndpoint(settings), tmp_path).deliver(rows_of([event(1, team=value)]))
    [request] = server.requests
    path, _, query = request.path.partition("?")
    segments = path.split("/")
    assert segments[:2] == ["", "teams"]
    assert len(segments) == 4
    assert not [segment for segment in segments if re.fullmatch("[.]+", unquote(segment))]
    assert segments[3].startswith("in.")
    assert ".." not in unquote(path)
    assert parse_qs(query, keep_blank_values=True) == {"of": [value], "x": ["1"]}
    assert request.headers["x-team"] == "<" + re.sub(r"[^ -~]", "_", value) + ">"
    assert "x-none" not in request.headers


def test_events_for_different_addresses_are_sent_apart_and_in_order(tmp_path: Path, server: WebServer) -> None:
    rows = rows_of([event(n, team=team) for n, team in enumerate(["a", "a", "b", None, "a"])])
    settings = HttpDestination(url=f"{server.url}/{{event.team}}")
    Sending(HttpEndpoint(settings), tmp_path).deliver(rows)
    taken = [(request.path, [one["event"]["n"] for one in events_of(request)]) for request in server.requests]
    assert taken == [("/a", [0, 1]), ("/b", [2]), ("/none", [3]), ("/a", [4])]


def test_what_was_taken_before_a_failure_is_not_sent_again(tmp_path: Path, server: WebServer) -> None:
    answers = [200, 503]
    server.answer = lambda _request: answers.pop(0) if answers else 200
    rows = rows_of([event(n, team=team) for n, team in enumerate(["a", "b", "c"])])
    sending = Sending(HttpEndpoint(HttpDestination(url=f"{server.url}/{{event.team}}")), tmp_path)
    sending.deliver(rows)
    assert [request.path for request in server.requests] == ["/a", "/b", "/b", "/c"]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 401])
def test_a_passing_failure_is_tried_again(tmp_path: Path, server: WebServer, status: int) -> None:
    answers = [status, status]
    server.answer = lambda _request: answers.pop() if answers else 204
    sending = sent(tmp_path, server)
    sending.deliver(rows_of([event(1)]))
    assert len({request.body for request in server.requests}) == 1
    assert len(server.requests) == 3
    assert sending.dead() == []


def test_the_server_says_when_to_come_again(tmp_path: Path, server: WebServer) -> None:
    sending = sent(tmp_path, server)
    server.answer = lambda _request: (429, {"Retry-After": "3600"}, b"")
    sending.hand_over(rows_of([event(1)]))
    until(lambda: sending.writer.trouble is not None, what="trouble")
    assert sending.writer._pace.not_before > 1000
    assert len(server.requests) == 1


def test_the_one_event_at_fault_is_a_dead_letter_and_the_others_arrive(tmp_path: Path, server: WebServer) -> None:
    def answer(request: Request) -> tuple[int, dict[str, str], bytes]:
        bad = any(one["event"]["n"] == 5 for one in events_of(request))
        return (422 if bad else 200), {}, b"five is not allowed" if bad else b""

    server.answer = answer
    sending = sent(tmp_path, server)
    rows = rows_of([event(n) for n in range(8)])
    sending.deliver(rows)
    [letter] = sending.dead()
    assert (letter["event_id"], letter["error"]) == (ids(rows)[5], "status 422: five is not allowed")
    refused = {request.body for request in server.requests if any(one["event"]["n"] == 5 for one in events_of(request))}
    taken = [
        one["event"]["n"] for request in server.requests if request.body not in refused for one in events_of(request)
    ]
    assert taken == [0, 1, 2, 3, 4, 6, 7]


def test_a_refusal_of_everything_is_dead_letters_in_the_data_directory(tmp_path: Path, server: WebServer) -> None:
    server.answer = lambda _request: 410
    config, log = opened(path := configured(tmp_path, server.url))
    expected = append(log, [{"source": "a", "event": {"n": n}} for n in range(3)])
    drain(path)
    assert len(server.requests) == 1
    letters = read_table(config.data / "dead_letters")
    assert sorted(letter["event_id"] for letter in letters) == expected
    assert {(letter["stage"], letter["destination"], letter["error"]) for letter in letters} == {
        ("destination", "out", "status 410")
    }


def test_nothing_is_lost_where_the_server_is_away_and_the_dataflow_is_killed(tmp_path: Path) -> None:
    server = WebServer()
    port = server.port
    server.stop()
    _, log = opened(path := configured(tmp_path, server.url))
    expected = append(log, [{"source": "a", "event": {"n": n}} for n in range(50)])
    worker = Worker(path, 0, 1)
    worker.wait_for("ready")
    until(lambda: "no connection" in (tmp_path / "worker-0.log").read_text(), what="word that the server is away")
    worker.kill()
    expected += append(log, [{"source": "a", "event": {"n": n}} for n in range(50)])
    server = WebServer(port=port)
    drain(path)
    server.stop()
    landed = Counter(one["event_id"] for request in server.requests for one in events_of(request))
    assert set(landed) == set(expected)


BAD = [
    ({"url": "ftp://x"}, "neither http:// nor https://"),
    ({"url": "http://{event.a}"}, "events could choose any server"),
    ({"url": "http://x{event.a}/in"}, "events could choose any server"),
    ({"url": "http://x:8{event.a}/in"}, "events could choose any server"),
    ({"url": "http://me@{source}/in"}, "events could choose any server"),
    ({"url": "http://x?{event.a}"}, "events could choose any server"),
    ({"url": "http://x/{event.a"}, "a brace belongs to a field"),
    ({"url": "http://x", "headers": {"X": "{nothing.a}"}}, "a row has event.…"),
    ({"url": "http://x", "body": {"a": ["{"]}}, "body: "),
    ({"url": "http://x", "body": "text", "format": "array"}, "one a request"),
    ({"url": "http://x", "username": "u"}, "goes with a password"),
    ({"url": "http://x", "bearer_token": "${HOOK}", "headers": {"authorization": "x"}}, "keep one of them"),
    ({"url": "http://x", "bearer_token": "${HOOK}", "username": "u", "password": "${HOOK}"}, "keep one of them"),
    ({"url": "http://x:99999"}, "its host or port"),
    ({"url": "http://x", "headers": {"a b": "c"}}, "is no name of a header"),
    ({"url": "http://x", "headers": {"Host": "c"}}, "headrace's to set"),
    ({"url": "http://x", "headers": {"X": "a\nb"}}, "only visible ASCII"),
    ({"url": "http://x", "client_key": "k.pem"}, "there is no client_cert"),
    ({"url": "http://x", "batch_rows": 0}, "too small"),
    ({"url": "http://x", "formt": "array"}, "did you mean 'format'"),
    ({}, "missing: 'url'"),
]


@pytest.mark.parametrize(("settings", "what"), BAD)
def test_a_mistake_is_told_with_its_place(
    tmp_path: Path, settings: dict[str, Any], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", "secret-1")
    stream = {"id": STREAM, "routes": [{"to": ["out"]}]}
    out = {"type": "http", **settings}
    problems = check(write_config(tmp_path, {"streams": {"pay": stream}, "destinations": {"out": out}}))
    [problem] = [problem for problem in problems if problem.severity == "error"]
    assert what in str(problem)
    assert problem.path.startswith("destinations.out")
