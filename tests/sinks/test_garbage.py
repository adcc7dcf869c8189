"""A destination whose server answers what no server of its kind answers takes nothing, loses nothing, and gets all later."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import HeadraceError, Transient
from connectors.sinks.base import Rows
from connectors.sinks.batching import Batching
from connectors.sinks.connection import Endpoint
from connectors.sinks.delta import DeltaWriter
from connectors.sinks.elasticsearch.endpoint import ElasticsearchEndpoint
from connectors.sinks.elasticsearch.settings import ElasticsearchDestination
from connectors.sinks.http.endpoint import HttpEndpoint
from connectors.sinks.http.settings import HttpDestination
from connectors.sinks.kafka.endpoint import KafkaEndpoint
from connectors.sinks.kafka.settings import KafkaDestination
from connectors.sinks.parquet import ParquetWriter
from connectors.sinks.settings import DeltaDestination, ParquetDestination
from connectors.sinks.splunk_hec.endpoint import SplunkHecEndpoint
from connectors.sinks.splunk_hec.settings import SplunkHecDestination
from connectors.values import Secret
from tests.flows.pipelines import until
from tests.services.web import WebServer
from tests.sinks.sending import Sending, event, rows_of
from tests.sinks.tables import STREAM

HTML = b"<html>This network needs you to log in.</html>"
ROWS = rows_of([event(1)], [event(2)])


class Babbler:
    """Reads what comes and answers bytes that belong to no protocol; then it hangs up."""

    def __init__(self) -> None:
        self.asked = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection, suppress(OSError):
                    connection.settimeout(5)
                    connection.recv(65536)
                    self.asked += 1
                    connection.sendall(b"\x00\xff\x13garbage\r\n\r\n" * 20)

    def stop(self) -> None:
        self._socket.close()


@pytest.fixture
def babbler() -> Iterator[Babbler]:
    made = Babbler()
    yield made
    made.stop()


def endpoint(kind: str, port: int) -> Endpoint:
    url, soon = f"http://127.0.0.1:{port}", timedelta(seconds=3)
    if kind == "elasticsearch":
        return ElasticsearchEndpoint(ElasticsearchDestination(url=url, index="x", timeout=soon))
    if kind == "splunk_hec":
        return SplunkHecEndpoint(SplunkHecDestination(url=url, token=Secret("t"), timeout=soon))
    if kind == "kafka":
        return KafkaEndpoint(KafkaDestination(bootstrap_servers=f"127.0.0.1:{port}", topic="x", timeout=soon))
    return HttpEndpoint(HttpDestination(url=url, timeout=soon))


@pytest.mark.parametrize("kind", ["elasticsearch", "splunk_hec", "kafka", "http"])
def test_bytes_of_no_protocol_are_no_answer(kind: str, babbler: Babbler, tmp_path: Path) -> None:
    sending = Sending(endpoint(kind, babbler.port), tmp_path, Batching(linger=timedelta(0)))
    sending.hand_over(ROWS)
    sending.writer.commit(everything=True)
    until(lambda: babbler.asked and sending.writer.trouble is not None, what="the trouble")
    assert sending.writer.floor(0) == 0
    assert sending.dead() == []


@pytest.mark.parametrize("kind", ["elasticsearch", "splunk_hec"])
def test_a_page_that_says_200_is_no_answer(kind: str, tmp_path: Path) -> None:
    server = WebServer(lambda _: (200, {"Content-Type": "text/html"}, HTML))
    try:
        sending = Sending(endpoint(kind, server.port), tmp_path, Batching(linger=timedelta(0)))
        sending.hand_over(ROWS)
        sending.writer.commit(everything=True)
        until(lambda: server.requests and sending.writer.trouble is not None, what="the trouble")
        assert sending.writer.floor(0) == 0
        assert sending.dead() == []
    finally:
        server.stop()


def store(kind: str, port: int) -> Any:
    fields: dict[str, Any] = {
        "uri": "s3://bucket/{stream}",
        "endpoint": f"http://127.0.0.1:{port}",
        "region": "us-east-1",
        "access_key_id": "a",
        "secret_access_key": Secret("s"),
    }
    if kind == "delta":
        return DeltaWriter(DeltaDestination(**fields), "log-1")
    return ParquetWriter(ParquetDestination(**fields), "log-1")


@pytest.mark.parametrize("kind", ["delta", "parquet"])
@pytest.mark.parametrize(("status", "fate"), [(502, Transient), (200, HeadraceError)])
def test_an_object_store_that_answers_with_a_page_is_tried_again_or_refused(kind: str, status: int, fate: type) -> None:
    """502: a proxy's page while the store is away. 200 to everything: no store that keeps the promise."""
    server = WebServer(lambda _: (status, {"Content-Type": "text/html"}, HTML))
    try:
        writer = store(kind, server.port)
        with pytest.raises(fate):
            take(writer)
        assert writer.floor(0) in (None, 0)
    finally:
        server.stop()


@pytest.mark.parametrize("kind", ["delta", "parquet"])
def test_an_object_store_that_answers_bytes_of_no_protocol_is_tried_again(kind: str, babbler: Babbler) -> None:
    writer = store(kind, babbler.port)
    with pytest.raises(Transient):
        take(writer)
    assert babbler.asked
    assert writer.floor(0) in (None, 0)


def take(writer: Any) -> None:
    """As a destination's thread does it."""
    try:
        writer.stage(0, [Rows(STREAM, ROWS)], 2)
        writer.commit(everything=True)
    except HeadraceError:
        writer.reset()
        raise
