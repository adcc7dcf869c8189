"""The network between two parts of a torture fails as it is told to."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.services.process import free_ports
from tests.services.web import WebServer
from tests.torture.proxy import Proxy

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture
def server() -> Iterator[WebServer]:
    made = WebServer()
    yield made
    made.stop()


@pytest.fixture
def proxy(server: WebServer) -> Proxy:
    [port] = free_ports(1)
    return Proxy(port, server.port)


def connected(proxy: Proxy) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
    connection.settimeout(20)
    return connection


def answer(connection: socket.socket) -> bytes:
    connection.sendall(REQUEST)
    return connection.recv(65536)


def test_everything_goes_through_until_it_is_cut_and_again_afterwards(proxy: Proxy) -> None:
    with connected(proxy) as connection:
        assert answer(connection).startswith(b"HTTP/1.1 200")
        proxy.set("cut")
        with pytest.raises(ConnectionError):
            assert connection.recv(1) != b""
        with pytest.raises(ConnectionRefusedError):
            connected(proxy)
    proxy.set("pass")
    with connected(proxy) as connection:
        assert answer(connection).startswith(b"HTTP/1.1 200")


def test_a_stalled_network_gives_what_was_sent_later(proxy: Proxy, server: WebServer) -> None:
    with connected(proxy) as connection:
        proxy.set("stall")
        connection.sendall(REQUEST)
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert not server.requests
        connection.settimeout(20)
        proxy.set("pass")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_mute_network_does_what_was_asked_and_loses_the_answer(proxy: Proxy, server: WebServer) -> None:
    with connected(proxy) as connection:
        assert answer(connection)
        proxy.set("mute")
        connection.sendall(REQUEST)
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert len(server.requests) == 2
        connection.settimeout(20)
        proxy.set("pass")
        with pytest.raises(ConnectionError):
            connection.recv(1)
