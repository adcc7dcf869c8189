"""The whole way on Kafka while the broker is down, silent or killed: HTTP in, the table out, each event once."""

from __future__ import annotations

import json
import selectors
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from flows.config import load
from tests.flows.pipelines import STREAM, drain, rows, until, write_config
from tests.services.kafka import KafkaBroker


class Gateway:
    """`headrace serve` on a configuration, with a token."""

    def __init__(self, config: Path) -> None:
        command = [sys.executable, "-m", "headrace"]
        more = ["--config", str(config)]
        made = subprocess.run(
            [*command, "token", "create", "--stream", "pay", "--json", *more],
            capture_output=True,
            check=True,
            timeout=60,
        )
        self.token = json.loads(made.stdout)["token"]
        with (config.parent / "gateway.log").open("ab") as errors:
            self.process = subprocess.Popen(
                [*command, "serve", "--port", "0", "--workers", "1", *more],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.address: str | None = None

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(60), "no `ready` line"
        self.address = urlsplit(self.process.stdout.readline().split()[1]).netloc

    def post(self, event: dict[str, Any], key: str | None = None) -> tuple[int, dict[str, Any], dict[str, str]]:
        assert self.address is not None
        connection = HTTPConnection(self.address, timeout=60)
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "X-Stream-Id": STREAM,
        } | ({"Idempotency-Key": key} if key else {})
        try:
            connection.request("POST", "/v1/streams/ingest", json.dumps(event), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read()), dict(answer.getheaders())
        finally:
            connection.close()

    def ready_status(self) -> int:
        assert self.address is not None
        connection = HTTPConnection(self.address, timeout=60)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture
def kafka_config(own_kafka: KafkaBroker, tmp_path: Path) -> Path:
    log = {"bootstrap_servers": own_kafka.bootstrap, "topic": "whole", "partitions": 2, "ack_timeout": 3}
    return write_config(tmp_path, {"log": {"kafka": log}})


@pytest.fixture
def gateway(kafka_config: Path) -> Iterator[Gateway]:
    made = Gateway(kafka_config)
    yield made
    made.process.terminate()
    made.process.wait(30)


def event(number: int) -> dict[str, Any]:
    return {"source": "app", "event": {"n": number}}


def test_a_request_that_kafka_did_not_acknowledge_is_refused_and_its_retry_leaves_one_event(
    own_kafka: KafkaBroker, gateway: Gateway, kafka_config: Path
) -> None:
    gateway.wait_until_ready()
    assert gateway.post(event(1), "one")[0] == 200
    own_kafka.signal(signal.SIGSTOP)  # the request gets to the broker's socket, and no answer comes back
    status, answer, headers = gateway.post(event(2), "two")
    assert (status, answer["error"]) == (503, "unavailable")
    assert int({name.lower(): value for name, value in headers.items()}["retry-after"]) >= 1
    own_kafka.signal(signal.SIGCONT)
    until(lambda: gateway.post(event(2), "two")[0] == 200, what="the retry")
    own_kafka.kill()
    assert gateway.post(event(3), "three")[0] == 503
    until(lambda: gateway.ready_status() == 503, what="a gateway that says it is not ready")
    own_kafka.start()
    until(lambda: gateway.post(event(3), "three")[0] == 200, seconds=90, what="the retry")
    until(lambda: gateway.ready_status() == 200, what="a gateway that is ready again")
    drain(kafka_config)
    assert Counter(n for (n,) in rows(load(kafka_config), "event.n")) == Counter([1, 2, 3])


def test_a_gateway_started_before_kafka_is_ready_once_kafka_is(
    own_kafka: KafkaBroker, kafka_config: Path, request: pytest.FixtureRequest
) -> None:
    own_kafka.kill()
    gateway: Gateway = request.getfixturevalue("gateway")
    assert gateway.process.poll() is None
    own_kafka.start()
    gateway.wait_until_ready()
    assert gateway.post(event(1))[0] == 200
    drain(kafka_config)
    assert rows(load(kafka_config), "event.n") == [(1,)]
