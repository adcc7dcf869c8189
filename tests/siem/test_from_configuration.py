"""From headrace.yaml to the servers: what a stream routes to a SIEM is there, masked, whatever is killed on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connectors.log import Log
from tests.flows.pipelines import STREAM, Worker, append, drain, event_ids, landed_so_far, opened, until, write_config
from tests.services.syslog import Rsyslog, SyslogServer
from tests.services.tenzir import Collector
from tests.sinks.tables import read_table


def configured(directory: Path, siem: dict[str, Any], steps: list[Any] | None = None) -> Path:
    stream = {"id": STREAM, "steps": steps or [], "routes": [{"to": ["siem", "lake"]}]}
    lake = {"type": "delta", "uri": str(directory / "lake" / "{stream}"), "commit_interval": "200ms"}
    return write_config(directory, {"destinations": {"lake": lake, "siem": siem}, "streams": {"pay": stream}})


def fill(log: Log, requests: int, *, first: int = 0, each: int = 100) -> list[str]:
    made = []
    for r in range(first, first + requests):
        made += append(
            log, [{"source": "app", "event": {"n": r * each + k, "card": "4111111111111111"}} for k in range(each)]
        )
    return made


def documents(server: SyslogServer) -> list[dict[str, Any]]:
    return [json.loads(message["msg"].removeprefix("\ufeff")) for message in server.received()]


def test_a_stream_reaches_a_syslog_server_over_tls_and_is_masked(server: SyslogServer, tmp_path: Path) -> None:
    siem = {"type": "syslog", "address": server.tls, "ca_file": str(server.authority.ca), "severity": "{event.level}"}
    path = configured(tmp_path, siem, [{"set": {"event.level": "'warn'"}}, {"mask": {"event.card": "last4"}}])
    config, log = opened(path)
    made = fill(log, 20)
    drain(path)
    until(lambda: len(server.received()) >= len(made), what="all messages")
    assert sorted(one["event_id"] for one in documents(server)) == sorted(made)
    assert {one["event"]["card"] for one in documents(server)} == {"************1111"}
    assert {message["pri"] for message in server.received()} == {"12"}
    assert sorted(event_ids(config)) == sorted(made)


def test_a_stream_reaches_a_collector_and_is_masked(collector: Collector, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HEC_TOKEN", collector.token)
    siem: dict[str, Any] = {"type": "splunk_hec", "url": collector.url, "token": "${HEC_TOKEN}"}
    if collector.tls:
        siem["ca_file"] = str(collector.authority.ca)
    path = configured(tmp_path, siem, [{"mask": {"event.card": "last4"}}])
    _, log = opened(path)
    made = fill(log, 20)
    drain(path)
    until(lambda: len(collector.received()) >= len(made), what="all events")
    assert sorted(one["fields"]["event_id"] for one in collector.received()) == sorted(made)
    assert {one["event"]["event"]["card"] for one in collector.received()} == {"************1111"}


def test_what_is_too_long_for_the_server_is_a_dead_letter_once(rsyslog: Rsyslog, tmp_path: Path) -> None:
    path = configured(tmp_path, {"type": "syslog", "address": rsyslog.tcp}, [{"mask": {"event.card": "last4"}}])
    config, log = opened(path)
    [long, short] = append(
        log, [{"source": "a", "event": {"pad": "x" * 9_000, "card": "4111111111111111"}}, {"source": "a", "event": {}}]
    )
    drain(path)
    drain(path)
    until(lambda: len(rsyslog.received()) >= 1, what="the message")
    assert [one["event_id"] for one in documents(rsyslog)] == [short]
    [letter] = read_table(config.data / "dead_letters")
    assert (letter["event_id"], letter["destination"], letter["stage"]) == (long, "siem", "destination")
    assert "max_bytes" in letter["error"]
    assert "4111111111111111" not in letter["payload"]


@pytest.mark.timeout(400)
def test_killed_dataflow_and_killed_server_lose_nothing(server: SyslogServer, tmp_path: Path) -> None:
    path = configured(tmp_path, {"type": "syslog", "address": server.tcp})
    _, log = opened(path)
    made = fill(log, 30)
    worker = Worker(path, 0, 1)
    try:
        until(lambda: len(server.received()) > 500, 120, what="some messages")
        server.restart()
        made += fill(log, 30, first=30)
        until(lambda: len(server.received()) > 3_000, 120, what="messages after the server's kill")
        worker.kill()
        made += fill(log, 30, first=60)
        worker = Worker(path, 0, 1)
        until(lambda: {one["event_id"] for one in documents(server)} == set(made), 180, what="every event")
    finally:
        worker.kill()


def test_a_siem_that_is_down_holds_up_nobody_else(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HEC_TOKEN", "any")
    path = configured(tmp_path, {"type": "splunk_hec", "url": "http://127.0.0.1:1", "token": "${HEC_TOKEN}"})
    config, log = opened(path)
    made = fill(log, 3)
    worker, said_in = Worker(path, 0, 1), tmp_path / "worker-0.log"
    try:
        until(lambda: len(landed_so_far(config)) == len(made), 120, what="the lake's rows")
        until(lambda: "cannot be reached" in said_in.read_text(), what="the word that the SIEM is down")
    finally:
        worker.kill()
    said = said_in.read_text()
    assert "cannot be reached" in said
