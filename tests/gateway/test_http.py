"""Every row of the HTTP API's table, from outside."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from connectors.record import keyed_request_id
from tests.gateway.live import EVENT, OTHER, STREAM, Answer, Gateway, settings_in, wait_until

PATH = "/v1/streams/ingest"
SENTENCE = "The 'timestamp' field must be a valid ISO 8601 string."


def assert_error(answer: Answer, status: int, error: str) -> dict[str, Any]:
    assert (answer.status, answer.json["error"]) == (status, error), answer
    assert answer.json["detail"].endswith(".")
    assert set(answer.json) <= {"error", "detail", "errors", "more"}
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.headers["x-request-id"]) == 36
    return dict(answer.json)


def test_one_event_is_answered_with_exactly_these_fields_and_is_in_the_log(gateway: Gateway) -> None:
    body = json.dumps(EVENT, indent=2).encode()
    answer = gateway.post(body)
    assert answer.status == 200
    assert answer.json == {"status": "accepted", "ingested_bytes": len(body), "stream_id": STREAM}
    record = gateway.record(answer.headers["x-request-id"])
    assert (record.stream, record.count) == (STREAM, 1)
    assert b"\n" not in record.value
    assert json.loads(record.value) == EVENT


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b'[{"source":"a","event":{"x":1.10}},\r\n{"source":"b",\n"event":{}}]', "application/json"),
        (b'{"source":"a","event":{"x":1.10}}\r\n\n{"source":"b", "event":{}}\n', "application/x-ndjson"),
        (
            b'\xef\xbb\xbf{"source":"a","event":{"x":1.10}}\n{"source":"b",\r"event":{}}',
            "application/x-ndjson; charset=utf-8",
        ),
    ],
)
def test_a_batch_says_how_many_events_and_keeps_each_on_one_line(
    gateway: Gateway, body: bytes, media_type: str
) -> None:
    answer = gateway.post(body, Content_Type=media_type)
    assert answer.json == {"status": "accepted", "ingested_bytes": len(body), "stream_id": STREAM, "events": 2}
    first, second = gateway.record(answer.headers["x-request-id"]).value.split(b"\n")
    assert first == b'{"source":"a","event":{"x":1.10}}'
    assert json.loads(second) == {"source": "b", "event": {}}


def test_an_array_of_one_event_is_a_batch(gateway: Gateway) -> None:
    assert gateway.post([EVENT]).json["events"] == 1


def test_unknown_fields_are_kept(gateway: Gateway) -> None:
    event = {**EVENT, "host": "h1", "level": 3}
    answer = gateway.post(event)
    assert json.loads(gateway.record(answer.headers["x-request-id"]).value) == event


def test_an_idempotency_key_decides_the_request_id_and_a_repeat_is_answered_the_same(gateway: Gateway) -> None:
    answers = [gateway.post(EVENT, Idempotency_Key="order-7") for _ in range(2)]
    assert answers[0].status == 200
    assert answers[0].body == answers[1].body
    assert {answer.headers["x-request-id"] for answer in answers} == {keyed_request_id(STREAM, "order-7")}


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256])
def test_a_malformed_idempotency_key_is_refused(gateway: Gateway, key: str) -> None:
    assert_error(gateway.post(EVENT, Idempotency_Key=key), 400, "invalid_format")


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"event": {}}, "missing_field"),
        ({"source": "a"}, "missing_field"),
        ({"source": "", "event": {}}, "invalid_type"),
        ({"source": 5, "event": {}}, "invalid_type"),
        ({"source": "a", "event": []}, "invalid_type"),
        ({"source": "a", "event": None}, "invalid_type"),
        ({"source": "a", "event": {}, "metadata": "x"}, "invalid_type"),
        ({"source": "a", "event": {}, "metadata": None}, "invalid_type"),
        ({"source": "a", "event": {}, "timestamp": 5}, "invalid_type"),
        ({"source": "a", "event": {}, "timestamp": None}, "invalid_type"),
        ({"source": "a", "event": {}, "timestamp": "yesterday"}, "invalid_format"),
        ({"source": "a", "event": {}, "timestamp": "0000-01-01T00:00:00Z"}, "invalid_format"),
        ({"source": "a", "event": {}, "timestamp": "0001-01-01T00:00:00+01:00"}, "invalid_format"),
        ({"source": "a", "event": {}, "timestamp": "9999-12-31T23:59:59-01:00"}, "invalid_format"),
        ("text", "invalid_type"),
        (None, "invalid_type"),
        ([], "invalid_type"),
    ],
)
def test_a_wrong_event_is_refused_alone_and_in_either_batch(gateway: Gateway, event: Any, error: str) -> None:
    answer = assert_error(gateway.post(event), 400, error)
    if error == "invalid_format":
        assert answer["detail"] == SENTENCE
    array = assert_error(gateway.post([EVENT, event]), 400, error if event != [] else "invalid_type")
    lines = f"{json.dumps(EVENT)}\n{json.dumps(event)}".encode()
    ndjson = assert_error(gateway.post(lines, Content_Type="application/x-ndjson"), 400, array["error"])
    assert array["errors"] == ndjson["errors"]
    assert [(bad["index"], bad["error"]) for bad in array["errors"]] == [(1, array["error"])]


@pytest.mark.parametrize("timestamp", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "20250212T143215,5+0100"])
def test_a_skewed_clock_or_a_rarer_form_is_accepted(gateway: Gateway, timestamp: str) -> None:
    assert gateway.post({**EVENT, "timestamp": timestamp}).status == 200


def test_every_bad_event_of_a_batch_is_named_up_to_a_hundred_and_none_is_taken(gateway: Gateway) -> None:
    batch = [{"source": "all-or-nothing", "event": {}}, *[{"event": {}} for _ in range(130)]]
    answer = assert_error(gateway.post(batch), 400, "missing_field")
    assert [bad["index"] for bad in answer["errors"]] == list(range(1, 101))
    assert answer["more"] == 30
    assert answer["errors"][0]["path"] == "$.source"
    assert not any(b"all-or-nothing" in record.value for record in gateway.records())


def test_bad_json_is_told_with_line_and_column(gateway: Gateway) -> None:
    answer = assert_error(gateway.post(b'{"source": "a",\n "event": {x}}'), 400, "invalid_json")
    assert "line 2, column 12" in answer["detail"]
    lines = f"{json.dumps(EVENT)}\n\n{{bad}}\n[]\n".encode()
    answer = assert_error(gateway.post(lines, Content_Type="application/x-ndjson"), 400, "invalid_json")
    assert [(bad["index"], bad["error"]) for bad in answer["errors"]] == [(1, "invalid_json"), (2, "invalid_type")]
    assert "line 3, column 2" in answer["errors"][0]["detail"]


@pytest.mark.parametrize(
    "value",
    [
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b'"\\ud800"',
        b'"\\udc00"',
        b"1e999",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"01",
        b"1} x",
        b'"\x01"',
        b"[" * 10_000 + b"]" * 10_000,
        b"[" * 400_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"9" * 9_000,
    ],
)
def test_what_is_not_json_is_refused(gateway: Gateway, value: bytes) -> None:
    body = b'{"source":"a","event":{"x":' + value + b"}}"
    assert_error(gateway.post(body), 400, "invalid_json")
    assert_error(gateway.post(b"[" + body + b"]"), 400, "invalid_json")
    assert_error(gateway.post(body, Content_Type="application/x-ndjson"), 400, "invalid_json")


@pytest.mark.parametrize("body", [b"", b"  \n", b"\xef\xbb\xbf"])
def test_an_empty_body_is_refused(gateway: Gateway, body: bytes) -> None:
    assert_error(gateway.post(body), 400, "invalid_json")


def test_an_empty_batch_is_refused(gateway: Gateway) -> None:
    assert_error(gateway.post(b"[]"), 400, "invalid_type")
    assert_error(gateway.post(b"\n \r\n", Content_Type="application/x-ndjson"), 400, "invalid_type")


def test_64_levels_always_work(gateway: Gateway) -> None:
    deep = b'{"a":' * 64 + b"1" + b"}" * 64
    assert gateway.post(b'[{"source":"a","event":' + deep + b"}]").status == 200


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (b'{"source":"a","event":{"x":1,"x":2.50}}', b'{"source":"a","event":{"x":2.50}}'),
        (b'{"source":"a","event":{"x" :1,"\\u0078":20000000000000000000.10}}', None),
        (b'{"source":"a","event":{"x":1,"x":"\\u0022:"}}', b'{"source":"a","event":{"x":"\\":"}}'),
        (b'{"source":"no","source":"a","event":{"x":[{"y":1,"y":2}]}}', b'{"source":"a","event":{"x":[{"y":2}]}}'),
        (b'{"source":"a","event":{"x":1.0,"y":"\\u00e9 :"}}', b'{"source":"a","event":{"x":1.0,"y":"\\u00e9 :"}}'),
    ],
)
def test_a_duplicate_key_has_one_reading_and_nothing_else_changes(
    gateway: Gateway, event: bytes, line: bytes | None
) -> None:
    answer = gateway.post(event)
    value = gateway.record(answer.headers["x-request-id"]).value
    assert value == (line or b'{"source":"a","event":{"x":20000000000000000000.10}}')


def test_a_body_at_the_limit_is_taken_and_one_byte_more_is_not(gateway: Gateway) -> None:
    body = json.dumps(EVENT).encode()
    assert gateway.post(body.ljust(1_048_576)).json["ingested_bytes"] == 1_048_576
    assert_error(gateway.post(body.ljust(1_048_577)), 400, "payload_too_large")


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer x", "Basic abc", "Bearer hr_x_y", "Bearer hr__"])
def test_without_a_known_token_it_is_unauthorized(gateway: Gateway, authorization: str | None) -> None:
    answer = gateway.post(EVENT, Authorization=authorization)
    assert_error(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_token_whose_secret_is_wrong_is_unauthorized(gateway: Gateway) -> None:
    wrong = gateway.token[:-1] + ("0" if gateway.token[-1] != "0" else "1")
    assert_error(gateway.post(EVENT, Authorization=f"Bearer {wrong}"), 401, "unauthorized")


def test_an_expired_token_is_told_apart(gateway: Gateway) -> None:
    _, text = gateway.tokens.create(None, expires=-1)
    wait_until(lambda: gateway.post(EVENT, Authorization=f"Bearer {text}").json["error"] == "token_expired")
    assert_error(gateway.post(EVENT, Authorization=f"Bearer {text}"), 401, "token_expired")


def test_a_revocation_is_in_force_within_a_second_in_every_process(gateway: Gateway) -> None:
    token, text = gateway.tokens.create([STREAM])
    wait_until(lambda: all(gateway.post(EVENT, Authorization=f"bearer {text}").status == 200 for _ in range(8)), 3)
    gateway.tokens.revoke(token.id)
    wait_until(lambda: gateway.post(EVENT, Authorization=f"Bearer {text}").status == 401, 1)
    wait_until(lambda: all(gateway.post(EVENT, Authorization=f"Bearer {text}").status == 401 for _ in range(8)), 1)
    assert_error(gateway.post(EVENT, Authorization=f"Bearer {text}"), 401, "token_revoked")


def test_a_token_is_for_its_streams_and_its_permissions_only(gateway: Gateway) -> None:
    _, elsewhere = gateway.tokens.create([OTHER])
    _, reader = gateway.tokens.create(None, ["read"])
    for text in (elsewhere, reader):
        wait_until(lambda text=text: gateway.post(EVENT, Authorization=f"Bearer {text}").status == 403)
        assert_error(gateway.post(EVENT, Authorization=f"Bearer {text}"), 403, "forbidden")
    assert gateway.post(EVENT, Authorization=f"Bearer {elsewhere}", X_Stream_Id=OTHER).status == 200


def test_the_token_is_checked_before_the_body_is_read(gateway: Gateway) -> None:
    with gateway.raw(Authorization="Bearer x", Content_Length="100") as connection:
        assert b" 401 " in connection.recv(1000)


@pytest.mark.parametrize("stream", ["", "payments", STREAM[:-1] + "0", STREAM.replace("-", ""), "é" * 36])
def test_an_unknown_stream_is_never_accepted(gateway: Gateway, stream: str) -> None:
    assert_error(gateway.post(EVENT, X_Stream_Id=stream), 404, "unknown_stream")


def test_the_stream_is_required_and_its_case_does_not_matter(gateway: Gateway) -> None:
    assert_error(gateway.post(EVENT, X_Stream_Id=None), 400, "missing_field")
    assert gateway.post(EVENT, X_Stream_Id=STREAM.upper()).json["stream_id"] == STREAM


@pytest.mark.parametrize(
    "media_type", [None, "", "text/plain", "application/jsonx", "application/x-www-form-urlencoded"]
)
def test_another_content_type_is_not_understood(gateway: Gateway, media_type: str | None) -> None:
    assert_error(gateway.post(EVENT, Content_Type=media_type), 415, "unsupported_media_type")


def test_another_encoding_is_not_understood(gateway: Gateway) -> None:
    assert_error(gateway.post(EVENT, Content_Encoding="br"), 415, "unsupported_media_type")
    assert gateway.post(EVENT, Content_Encoding="identity").status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_only_post_is_allowed(gateway: Gateway, method: str) -> None:
    answer = gateway.ask(method, PATH)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    if method != "HEAD":
        assert_error(answer, 405, "method_not_allowed")


def test_any_other_path_gets_an_answer_of_the_same_shape(gateway: Gateway) -> None:
    for path in ("/", "/v1/streams/ingest/", "/v1", "/%ff", "//healthz/.."):
        assert_error(gateway.ask("GET", path), 404, "not_found")
    assert_error(gateway.ask("DELETE", "/healthz"), 405, "method_not_allowed")


def test_health_readiness_metrics_and_docs(gateway: Gateway) -> None:
    assert gateway.ask("GET", "/healthz").status == 200
    assert gateway.ask("GET", "/readyz").json == {"status": "ready"}
    assert gateway.post(EVENT).status == 200
    text = gateway.ask("GET", "/metrics").body.decode()
    assert 'headrace_requests_accepted_total{stream="payments"}' in text
    assert "headrace_append_seconds_bucket" in text
    page = gateway.ask("GET", "/docs").body.decode()
    assert "/v1/streams/ingest" in page
    assert "http://" not in page


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(tmp_path: Path, number: int) -> None:
    gateway = Gateway(settings_in(tmp_path), workers=2)
    assert gateway.post(EVENT).status == 200
    assert gateway.stop(number) == 0
