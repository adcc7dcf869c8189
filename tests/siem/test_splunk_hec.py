"""Events at an HTTP Event Collector: a real one (Tenzir), and a stand-in for what it does not show.

Acknowledgements of a real one: `test_acknowledgement.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from connectors.errors import ConfigError, Transient
from connectors.sinks.batching import Batching
from connectors.sinks.connection import Unfinished
from connectors.sinks.joined import joined
from connectors.sinks.splunk_hec.endpoint import SplunkHecEndpoint
from connectors.sinks.splunk_hec.envelope import Envelopes
from connectors.sinks.splunk_hec.settings import SplunkHecDestination
from connectors.values import Secret
from tests.services.certificates import Authority
from tests.services.tenzir import Collector
from tests.siem.stand_in import TOKEN, StandIn, stand_in
from tests.sinks.sending import Sending, event, ids, rows_of, settled

MANY = 20_000


@pytest.fixture
def indexer() -> Iterator[StandIn]:
    with stand_in() as state:
        yield state


def to(collector: Collector, **more: Any) -> SplunkHecDestination:
    trusted = {"ca_file": collector.authority.ca} if collector.tls else {}
    return SplunkHecDestination(**{"url": collector.url, "token": Secret(collector.token), **trusted, **more})


def to_stand_in(state: StandIn, **more: Any) -> SplunkHecDestination:
    return SplunkHecDestination(url=state.url, token=Secret(TOKEN), **{"ack": True, **more})


def got(state: StandIn) -> list[int]:
    return [one["event"]["event"]["n"] for one in state.indexed]


def envelopes(rows: pa.Table, **settings: Any) -> list[dict[str, Any]]:
    made = Envelopes(SplunkHecDestination(url="http://h:1", token=Secret("t"), **settings)).of("payments", rows)
    return [json.loads(line) for line in bytes(joined(made)).splitlines()]


def test_many_events_arrive_all_and_in_order(collector: Collector, tmp_path: Path) -> None:
    out = Sending(SplunkHecEndpoint(to(collector)), tmp_path, Batching(rows=2_000))
    out.deliver(rows_of(*[[event(n) for n in range(k, k + 500)] for k in range(0, MANY, 500)]))
    settled(lambda: len(collector.received()) >= MANY, "all events")
    received = collector.received()
    assert [one["event"]["event"]["n"] for one in received] == list(range(MANY))
    assert received[0]["fields"] == {"event_id": received[0]["event"]["event_id"], "stream": "payments"}
    assert received[0]["source"] == "app"
    assert received[0]["sourcetype"] == "_json"
    assert received[0]["time"].startswith("2025-02-12T14:32:15.5")
    out.writer.close()


def test_a_collector_killed_on_the_way_and_back_has_every_event(collector: Collector, tmp_path: Path) -> None:
    """Without acknowledgements what it had taken into memory is gone; what it had not answered is sent again."""
    out = Sending(SplunkHecEndpoint(to(collector)), tmp_path, Batching(rows=1_000))
    out.deliver(rows_of([event(n) for n in range(1_000)]))
    settled(lambda: len(collector.received()) == 1_000, "the first events")
    collector.kill()
    end = out.hand_over(rows_of([event(n) for n in range(1_000, 3_000)], first=1))
    out.writer.commit(everything=True)
    settled(lambda: "cannot be reached" in (out.writer.trouble or ""), "a reason")
    before = collector.received()
    collector.start()
    settled(lambda: out.writer.floor(0) == end, "the floor")
    settled(lambda: len(collector.received()) >= 2_000, "the rest")  # it begins its file anew
    after = {one["event"]["event"]["n"] for one in [*before, *collector.received()]}
    assert after == set(range(3_000))
    out.writer.close()


def test_a_wrong_token_is_named_and_waited_out(collector: Collector, tmp_path: Path) -> None:
    wrong = SplunkHecEndpoint(to(collector, token=Secret("wrong-token")))
    out = Sending(wrong, tmp_path)
    out.hand_over(rows_of([event(1)]))
    out.writer.commit(everything=True)
    settled(lambda: out.writer.trouble is not None, "a reason")
    assert out.writer.trouble is not None
    assert "403: Invalid token (code 4); put `token` right" in out.writer.trouble
    assert "wrong-token" not in out.writer.trouble
    assert out.writer.floor(0) == 0
    assert out.dead() == []
    out.writer.close()


def test_acknowledgement_that_the_collector_does_not_offer_is_said(collector: Collector) -> None:
    with pytest.raises(ConfigError, match="indexer acknowledgement"):
        SplunkHecEndpoint(to(collector, ack=True)).connect().send("payments", rows_of([event(1)]))


def test_a_certificate_of_another_authority_is_named(tmp_path: Path, collector: Collector) -> None:
    if not collector.tls:
        pytest.skip("there is no certificate without TLS")
    other = Authority(tmp_path / "other", "somebody else").ca
    with pytest.raises(ConfigError, match=r"certificate verify failed.*`ca_file`"):
        SplunkHecEndpoint(to(collector, ca_file=other)).connect().send("payments", rows_of([event(1)]))
    unverified = SplunkHecEndpoint(to(collector, ca_file=other, verify=False)).connect()
    assert unverified.send("payments", rows_of([event(1)])) == []


def test_nothing_is_delivered_before_it_is_indexed(indexer: StandIn, tmp_path: Path) -> None:
    indexer.indexing = False
    out = Sending(SplunkHecEndpoint(to_stand_in(indexer)), tmp_path)
    end = out.hand_over(rows_of([event(1)]))
    out.writer.commit(everything=True)
    settled(lambda: len(indexer.requests) == 1, "the request")
    assert out.writer.floor(0) == 0
    indexer.indexing = True
    settled(lambda: out.writer.floor(0) == end, "the floor")
    assert got(indexer) == [1]
    assert len(indexer.requests) == 1
    out.writer.close()


def test_only_what_is_not_acknowledged_in_time_is_left(indexer: StandIn) -> None:
    indexer.refuses = lambda one: 12 if one["event"]["event"]["n"] == 3 else None
    sending = SplunkHecEndpoint(to_stand_in(indexer, ack_timeout=timedelta(seconds=1))).connect()
    indexer.indexing = False
    with pytest.raises(Unfinished, match="not acknowledged within 0:00:01") as caught:
        sending.send("payments", rows_of([event(n) for n in range(6)]))
    assert caught.value.left == [0, 1, 2, 4, 5]
    assert [refusal.row for refusal in caught.value.refusals] == [3]


def test_acknowledgements_are_asked_of_the_node_that_took_the_events(indexer: StandIn) -> None:
    sending = SplunkHecEndpoint(to_stand_in(indexer)).connect()
    sending.send("payments", rows_of([event(1)]))
    sending.send("payments", rows_of([event(2)], first=1))
    assert indexer.requests[1]["cookie"] == "sticky=one"


def test_an_event_that_is_refused_is_a_dead_letter_and_the_others_arrive(indexer: StandIn, tmp_path: Path) -> None:
    indexer.refuses = lambda one: 15 if one["event"]["event"]["n"] in (0, 4, 9) else None
    rows = rows_of([event(n) for n in range(10)])
    out = Sending(SplunkHecEndpoint(to_stand_in(indexer, ack=False)), tmp_path)
    out.deliver(rows)
    assert [letter["event_id"] for letter in out.dead()] == [ids(rows)[n] for n in (0, 4, 9)]
    assert "code 15" in out.dead()[0]["error"]
    indexer_has = got(indexer)
    waiting = [one["event"]["event"]["n"] for events in indexer._waiting.values() for one in events]
    assert {*indexer_has, *waiting} == {1, 2, 3, 5, 6, 7, 8}
    assert len(indexer_has) + len(waiting) <= 2 * 7  # each at most once more than needed
    out.writer.close()


def test_a_request_that_is_too_large_is_made_smaller(indexer: StandIn) -> None:
    indexer.answers = [(413, {"text": "Content-Length too large", "code": 27}, {})]
    assert SplunkHecEndpoint(to_stand_in(indexer)).connect().send("payments", rows_of([event(0), event(1)])) == []
    assert got(indexer) == [0, 1]
    assert len(indexer.requests) == 3


@pytest.mark.parametrize(
    ("status", "code", "headers", "error", "says"),
    [
        (503, 9, {"Retry-After": "7"}, Transient, "Server is busy"),
        (500, 8, {}, Transient, "Server is busy"),
        (429, 26, {}, Transient, "Server is busy"),
        (403, 1, {}, ConfigError, "put `token` right"),
        (401, 3, {}, ConfigError, "put `token` right"),
        (400, 7, {}, ConfigError, "set `index`"),
        (400, 10, {}, ConfigError, "`ack`"),
        (400, 14, {}, ConfigError, "`ack`"),
        (400, None, {}, Transient, "400"),  # no collector's answer: perhaps a proxy's, and no fault of the event
        (404, None, {}, ConfigError, "HTTP Event Collector"),
        (302, None, {"Location": "/elsewhere"}, ConfigError, "HTTP Event Collector"),
    ],
)
def test_what_can_be_mended_refuses_no_event(
    indexer: StandIn, status: int, code: int | None, headers: dict[str, str], error: type[Exception], says: str
) -> None:
    indexer.answers = [(status, {"text": "Server is busy"} | ({} if code is None else {"code": code}), headers)]
    sending = SplunkHecEndpoint(to_stand_in(indexer)).connect()
    with pytest.raises(error, match=says) as caught:
        sending.send("payments", rows_of([event(1)]))
    if "Retry-After" in headers:
        assert isinstance(caught.value, Transient)
        assert caught.value.retry_after == 7
    assert sending.send("payments", rows_of([event(1)])) == []
    assert got(indexer) == [1]


def test_an_index_of_the_event_that_is_none_refuses_the_event(indexer: StandIn) -> None:
    indexer.refuses = lambda one: 7 if one.get("index") == "of-nowhere" else None
    sending = SplunkHecEndpoint(to_stand_in(indexer, index="of-{event.index}")).connect()
    [refusal] = sending.send("payments", rows_of([event(1, index="main"), event(2, index="nowhere"), event(3)]))
    assert refusal.row == 1
    assert sorted(set(got(indexer))) == [1, 3]


def test_an_address_where_nobody_listens_is_an_error_that_says_so() -> None:
    settings = SplunkHecDestination(url="http://127.0.0.1:1", token=Secret("t"))
    with pytest.raises(Transient, match="cannot be reached"):
        SplunkHecEndpoint(settings).connect().send("payments", rows_of([event(1)]))


def test_what_an_event_looks_like() -> None:
    rows = rows_of(
        [event(1, host="h1", level=None), {"source": "b", "timestamp": "1969-12-31T23:59:58.75Z", "event": {}}]
    )
    first, second = envelopes(rows, host="{event.host}", index="main", fields={"n": "{event.n}"})
    assert first == {
        "time": 1739370735.5,
        "host": "h1",
        "source": "app",
        "sourcetype": "_json",
        "index": "main",
        "event": {
            **{"event_id": ids(rows)[0], "timestamp": "2025-02-12T14:32:15.500000Z", "source": "app"},
            **{"received_at": "2025-02-12T14:32:15.000000Z", "event": {"n": 1, "host": "h1"}, "stream": "payments"},
            **{"_sample_rate": 1.0, "_late": False},
        },
        "fields": {"event_id": ids(rows)[0], "stream": "payments", "n": "1"},
    }
    assert second["time"] == -1.25
    assert "host" not in second
    assert "n" not in second["fields"]


def test_no_event_chooses_an_index_outside_the_operator_s_prefix() -> None:
    teams = ["shop", "../_internal", "A B", None, "x" * 300, "", "main;"]
    rows = rows_of([event(n, team=team) for n, team in enumerate(teams)])
    settings = SplunkHecDestination(url="https://h:1", token=Secret("t"), index="app-{event.team}")
    found = [json.loads(text)["index"] for text in Envelopes(settings).of("payments", rows).to_pylist()]
    assert found == ["app-shop", "app-____internal", "app-a_b", "app-none", "app-" + "x" * 40, "app-none", "app-main_"]


def test_a_rollups_row_has_a_time_and_an_identity() -> None:
    start = pa.array([1_739_370_720_000_000, 1_739_370_780_000_000], pa.timestamp("us", "UTC"))
    rows = pa.table({"window_start": start, "events": [3, 4], "_offset": [1, 1]})
    first, second = envelopes(rows)
    assert first["time"] == 1739370720
    assert first["event"]["events"] == 3
    assert len({first["fields"]["event_id"], second["fields"]["event_id"]}) == 2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": "siem:8088"}, "neither http:// nor https://"),
        ({"url": "https://siem:80888"}, "port cannot be read"),
        ({"url": "https://me:pw@siem:8088"}, "user has no place"),
        ({"token": Secret("")}, "token: empty"),
        ({"token": Secret("a\nb")}, "characters that no token has"),
        ({"host": "{event.host"}, "host: .*a brace belongs to a field"),
        ({"fields": {"stream": "x"}}, "always there"),
        ({"index": "{event.team}"}, "index: events could choose any name"),
        ({"index": "App-{event.team}"}, "index: a name has only the characters"),
        ({"fields": {"a": "{evnt.a}"}}, "a row has event"),
        ({"client_key": Path("k")}, "no client_cert"),
    ],
)
def test_settings_that_cannot_be_are_told(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SplunkHecDestination(**{"url": "https://siem:8088", "token": Secret("t"), **settings})


def test_certificates_that_are_none_are_named(tmp_path: Path) -> None:
    settings = SplunkHecDestination(url="https://h:1", token=Secret("t"), ca_file=tmp_path / "ca.pem")
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        SplunkHecEndpoint(settings).connect()


def test_the_token_is_not_shown() -> None:
    settings = SplunkHecDestination(url="https://h:1", token=Secret("very-secret", "${SPLUNK_TOKEN}"))
    assert "very-secret" not in repr(settings)
    assert msgspec.structs.asdict(settings)["token"] == "very-secret"
