"""Events at real syslog servers: all of them, in order, over TCP and TLS, whatever is killed in between."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import ConfigError, Transient
from connectors.sinks.batching import Batching
from connectors.sinks.syslog.endpoint import SyslogEndpoint
from connectors.sinks.syslog.settings import SyslogDestination
from connectors.telemetry import ROWS_SENT_AGAIN
from tests.conftest import had
from tests.flows.pipelines import until
from tests.services.certificates import Authority
from tests.services.process import ROOT
from tests.services.syslog import Rsyslog, SyslogServer
from tests.sinks.sending import Sending, event, ids, rows_of, settled

MANY = 20_000
ONE = Batching(rows=2_000, concurrency=1)


def over_tcp(server: SyslogServer) -> dict[str, Any]:
    return {"address": server.tcp}


def over_tls(server: SyslogServer) -> dict[str, Any]:
    return {"address": server.tls, "ca_file": server.authority.ca}


Way = Callable[[SyslogServer], dict[str, Any]]
ways = pytest.mark.parametrize("way", [over_tcp, over_tls])


def connection(server: SyslogServer, way: Way = over_tcp, **more: Any) -> Any:
    return SyslogEndpoint(SyslogDestination(**way(server), **more), "siem").connect()


def numbers(server: SyslogServer) -> list[int]:
    return [json.loads(message["msg"].removeprefix("\ufeff"))["event"]["n"] for message in server.received()]


@ways
def test_many_events_arrive_all_and_in_order(server: SyslogServer, way: Way, tmp_path: Path) -> None:
    out = Sending(SyslogEndpoint(SyslogDestination(**way(server)), "siem"), tmp_path, ONE)
    rows = rows_of(*[[event(n, pad="x" * 200) for n in range(k, k + 500)] for k in range(0, MANY, 500)])
    out.deliver(rows)
    out.writer.close()
    settled(lambda: len(server.received()) >= MANY, "all messages")
    assert numbers(server) == list(range(MANY))


@ways
def test_closing_right_after_the_last_send_loses_nothing(server: SyslogServer, way: Way) -> None:
    for n in range(5):
        sending = connection(server, way)
        assert sending.send("payments", rows_of([event(n * 4_000 + k) for k in range(4_000)])) == []
        sending.close()
    settled(lambda: len(server.received()) >= MANY, "all messages")
    assert sorted(numbers(server)) == list(range(MANY))


@ways
def test_a_server_killed_on_the_way_and_back_has_every_event(server: SyslogServer, way: Way, tmp_path: Path) -> None:
    out = Sending(SyslogEndpoint(SyslogDestination(**way(server)), "siem"), tmp_path, ONE)
    again = ROWS_SENT_AGAIN.labels("siem")._value.get()
    chunks = [
        rows_of(*[[event(n) for n in range(k, k + 100)] for k in range(c, c + 2_000, 100)], first=c // 100)
        for c in range(0, MANY, 2_000)
    ]
    for at, rows in enumerate(chunks):
        out.hand_over(rows)
        if at in (3, 7):
            out.writer.commit(everything=True)
            settled(lambda at=at: len(server.received()) > at * 1_000, "some messages")  # type: ignore[misc]
            server.restart()
    out.writer.commit(everything=True)
    until(lambda: out.writer.floor(0) == MANY // 100, 90, what=f"the floor ({out.writer.trouble})")
    out.writer.close()
    settled(lambda: set(numbers(server)) == set(range(MANY)), "every event")
    repeated = len(numbers(server)) - MANY
    sent_again = ROWS_SENT_AGAIN.labels("siem")._value.get() - again
    assert sent_again > 0
    assert repeated <= sent_again + 2 * ONE.rows  # and the batches that were under way


def test_what_a_killed_server_had_not_read_is_sent_again(server: SyslogServer) -> None:
    endpoint = SyslogEndpoint(SyslogDestination(address=server.tcp), "siem")
    sending = endpoint.connect()
    sending.send("payments", rows_of([event(0)]))
    settled(lambda: numbers(server) == [0], "the first message")
    server.signal(signal.SIGSTOP)
    sending.send("payments", rows_of([event(n) for n in range(1, 50)]))  # the kernel takes it; nobody reads it
    server.kill()
    with pytest.raises(Transient, match="refused"):
        sending.send("payments", rows_of([event(50)]))
    sending.close()  # as its user does with a connection that failed
    server.start()
    after = endpoint.connect()
    after.send("payments", rows_of([event(50)]))
    after.close()
    settled(lambda: numbers(server)[1:] in ([*range(1, 51)], [*range(51)]), "every event")


def test_without_a_window_what_was_not_read_is_lost(rsyslog: Rsyslog) -> None:
    """What the window is for: syslog itself cannot tell that this went missing."""
    settings = SyslogDestination(address=rsyslog.tcp, resend_within=timedelta(0), resend_bytes=1)
    sending = SyslogEndpoint(settings, "siem").connect()
    rsyslog.signal(signal.SIGSTOP)
    sending.send("payments", rows_of([event(0)]))
    sending.send("payments", rows_of([event(1)]))
    rsyslog.restart()
    sending.send("payments", rows_of([event(2)]))
    sending.close()
    settled(lambda: 2 in numbers(rsyslog), "the last message")
    assert 0 not in numbers(rsyslog)


def test_a_longer_window_than_the_outage_is_not_needed(rsyslog: Rsyslog) -> None:
    """The age of what was sent counts up to when the connection was last seen open, not to when the server is back."""
    settings = SyslogDestination(address=rsyslog.tcp, resend_within=timedelta(milliseconds=500))
    sending = SyslogEndpoint(settings, "siem").connect()
    rsyslog.signal(signal.SIGSTOP)
    sending.send("payments", rows_of([event(0)]))
    rsyslog.kill()
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 1, 5, what="an outage longer than the window")
    rsyslog.start()
    sending.send("payments", rows_of([event(1)]))
    sending.close()
    settled(lambda: numbers(rsyslog) == [0, 1], "both messages")


def test_a_server_that_stops_reading_is_an_error_and_not_a_delivery(rsyslog: Rsyslog) -> None:
    sending = connection(rsyslog, timeout=timedelta(milliseconds=300))
    rsyslog.signal(signal.SIGSTOP)
    large = rows_of(*[[event(n, pad="x" * 7_000) for n in range(100)] for _ in range(40)])
    with pytest.raises(Transient, match="sent again"):
        sending.send("payments", large)  # 28 MB: more than the kernels hold
    rsyslog.signal(signal.SIGCONT)
    sending.close()


def test_what_only_our_own_kernel_holds_is_not_delivered(rsyslog: Rsyslog) -> None:
    """Every byte is written, and the other host has not acknowledged them all: a killed sender would lose them."""
    sending = connection(rsyslog, timeout=timedelta(milliseconds=500))
    sending._wire._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
    rsyslog.signal(signal.SIGSTOP)
    filling = rows_of([event(n, pad="x" * 7_000) for n in range(100)])

    def send_on() -> None:
        for _ in range(40):
            sending.send("payments", filling)

    with pytest.raises(Transient, match="were not acknowledged"):
        send_on()
    rsyslog.signal(signal.SIGCONT)
    sending.close()


def test_a_certificate_of_another_authority_is_named(server: SyslogServer, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "somebody else")
    endpoint = SyslogEndpoint(SyslogDestination(address=server.tls, ca_file=other.ca), "siem")
    with pytest.raises(ConfigError, match=r"certificate that cannot be trusted.*`ca_file`"):
        endpoint.connect()


def test_a_certificate_for_another_name_is_named_and_server_name_mends_it(server: SyslogServer) -> None:
    address = server.tls.replace("localhost", "127.0.0.2")
    with pytest.raises((ConfigError, Transient), match=r"127\.0\.0\.2|cannot be trusted"):
        SyslogEndpoint(SyslogDestination(address=address, ca_file=server.authority.ca), "siem").connect()
    wrong = SyslogDestination(address=server.tls, ca_file=server.authority.ca, server_name="siem.example")
    with pytest.raises(ConfigError, match=r"siem\.example"):
        SyslogEndpoint(wrong, "siem").connect()
    named = SyslogDestination(
        address=server.tls.replace("localhost", "127.0.0.1"), ca_file=server.authority.ca, server_name="localhost"
    )
    SyslogEndpoint(named, "siem").connect().close()


def test_a_server_that_asks_for_a_certificate_gets_ours(tmp_path: Path) -> None:
    server = had(lambda: Rsyslog(tmp_path / "syslog", client_certificates=True))
    server.start()
    try:
        certificate, key = server.authority.issue("client")
        sending = connection(server, over_tls, client_cert=certificate, client_key=key)
        sending.send("payments", rows_of([event(7)]))
        sending.close()
        settled(lambda: numbers(server) == [7], "the message")
    finally:
        server.kill()


def test_certificates_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing of the kind")
    endpoint = SyslogEndpoint(SyslogDestination(address="tls://localhost:1", ca_file=tmp_path / "ca.pem"), "siem")
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        endpoint.connect()


def test_an_address_where_nobody_listens_is_waited_for(tmp_path: Path) -> None:
    server = had(lambda: Rsyslog(tmp_path / "syslog"))
    out = Sending(SyslogEndpoint(SyslogDestination(address=server.tcp), "siem"), tmp_path, ONE)
    out.hand_over(rows_of([event(1)]))
    out.writer.commit(everything=True)
    settled(lambda: "Connection refused" in (out.writer.trouble or ""), "a reason")
    assert out.writer.floor(0) == 0
    server.start()
    try:
        settled(lambda: out.writer.floor(0) == 1, "the floor")
        out.writer.close()
        settled(lambda: numbers(server) == [1], "the message")
    finally:
        server.kill()


def test_a_message_of_max_bytes_arrives_whole_and_a_longer_one_is_a_dead_letter(
    server: SyslogServer, tmp_path: Path
) -> None:
    rows = rows_of([event(0), event(1, pad="x" * 20_000), event(2)])
    probe = SyslogDestination(address=server.tcp, body="message", message="{event.fill}", max_bytes=8096)
    out = Sending(SyslogEndpoint(SyslogDestination(address=server.tcp), "siem"), tmp_path, ONE)
    out.deliver(rows)
    [dead] = out.dead()
    assert dead["event_id"] == ids(rows)[1]
    assert dead["destination"] == "out"
    assert "max_bytes is 8096" in dead["error"]
    assert json.loads(dead["payload"])["event"]["n"] == 1
    out.writer.close()
    settled(lambda: numbers(server) == [0, 2], "the others")

    sending = SyslogEndpoint(probe, "siem").connect()
    [refusal] = sending.send("payments", rows_of([event(3, fill="y" * 9_000)]))
    fits = 9_000 - (int(refusal.reason.split()[3]) - probe.max_bytes)
    assert sending.send("payments", rows_of([event(4, fill="y" * fits)], first=9)) == []
    sending.close()
    settled(lambda: len(server.received()) == 3, "the longest")
    assert server.received()[-1]["msg"] == "y" * fits


@ways
def test_a_process_killed_right_after_its_last_send_has_lost_nothing(server: SyslogServer, way: Way) -> None:
    """Nothing is closed in order then, so nothing that the server still says may come in afterwards and reset it all."""
    send = """
import os, signal, sys
from pathlib import Path
from connectors.sinks.syslog.settings import SyslogDestination
from connectors.sinks.syslog.endpoint import SyslogEndpoint
from tests.sinks.sending import event, rows_of
address, ca = sys.argv[1:]
settings = SyslogDestination(address=address, ca_file=Path(ca) if address.startswith("tls") else None)
rows = rows_of(*[[event(n, pad="x" * 300) for n in range(k, k + 500)] for k in range(0, 20_000, 500)])
SyslogEndpoint(settings, "siem").connect().send("payments", rows)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", send, way(server)["address"], str(server.authority.ca)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL, done.stderr
    settled(lambda: len(server.received()) >= MANY, "all messages")
    assert numbers(server) == list(range(MANY))
