"""Bodies that stop arriving: after a while their connection's reading side is shut, so that the thread is free again.

Granian hands a WSGI application a body whose `read` blocks until all of it is there, and no way to give up; nor does it
tell which connection a request came by. The kernel does: of the process's TCP connections, one with a request under way
for at least `t` seconds is one on which the server has sent nothing for `t` seconds, and the client something since.
Shutting down the reading side of such a connection ends the read, and the client still gets an answer.
Where there is no `/proc` (not Linux) nothing is shut, and a body may take as long as it likes.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import threading
import time
from contextlib import ExitStack, suppress
from typing import NamedTuple

_TICK_SECONDS = 0.25
_CROWDED_SECONDS = 2.0
_SLACK_MS = 60  # the kernel's clock for these ticks every few milliseconds
_ESTABLISHED, _CLOSED, _CLOSE_WAIT, _LISTENING = 1, 7, 8, 10
_INFO = struct.Struct("<B 7x 24I 4Q")
_LAST_SENT, _LAST_RECEIVED, _BYTES_ACKED = 10, 12, 27  # of the unpacked fields; the first two in milliseconds ago


class _Reading(NamedTuple):
    begun: float
    peer: str
    port: int
    seconds: float
    answered: bool

    def may_be(self, connection: _Connection, age: float) -> bool:
        """Whether this reading, begun `age` milliseconds ago, may be from `connection`."""
        if self.answered:  # its answer went out when the reading began
            return abs(connection.sent - age) < _SLACK_MS
        return connection.sent > age - _SLACK_MS and connection.received <= connection.sent


class Readings:
    """The bodies this process is reading, and the thread that ends those that take longer than `timeout` seconds.

    When more than `crowd` are being read at once all have little time, so that threads are left for others.
    """

    def __init__(self, timeout: float, crowd: int) -> None:
        self._timeout = timeout
        self._crowd = crowd
        self.started: dict[int, _Reading] = {}
        self._some = threading.Event()
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None

    def reading(self, peer: str, port: int, *, seconds: float | None = None, answered: bool = False) -> _Body:
        """While a body from `peer` to our `port` is being read, for at most `seconds`; `answered`: after its answer."""
        return _Body(self, _Reading(time.monotonic(), peer, port, seconds or self._timeout, answered))

    def begin(self, reading: _Reading) -> None:
        """The calling thread is reading a body."""
        self.started[threading.get_ident()] = reading
        if not self._some.is_set():
            self._some.set()
        if self._watcher is None:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="stalled-bodies", daemon=True)
                self._watcher.start()

    def _watch(self) -> None:
        while True:
            self._some.wait()
            time.sleep(_TICK_SECONDS)
            self._some.clear()
            started = list(self.started.values())
            if started:
                self._some.set()
            longest = math.inf if len(started) <= self._crowd else _CROWDED_SECONDS
            now = time.monotonic()
            late = [reading for reading in started if now - reading.begun > min(reading.seconds, longest)]
            if late:
                _shut(late, now)


class _Body:
    """One body, for as long as it is read: a class, since a generator would cost each request twice as much."""

    __slots__ = ("_reading", "_readings")

    def __init__(self, readings: Readings, reading: _Reading) -> None:
        self._readings = readings
        self._reading = reading

    def __enter__(self) -> None:
        self._readings.begin(self._reading)

    def __exit__(self, *_: object) -> None:
        del self._readings.started[threading.get_ident()]


def _shut(late: list[_Reading], now: float) -> None:
    """Shuts the reading side of as many connections as there are late readings, those that may be theirs.

    Among connections with a request under way the longest silent are taken first: a request that has come whole and is
    waiting for a thread came after those that hold the threads.
    """
    with ExitStack() as held:
        found = sorted(_connections(late[0].port, held), key=lambda found: (found.doubtful, -found.received))
        for reading in late:
            age = (now - reading.begun) * 1000
            for connection in found:
                if (
                    connection.state == _ESTABLISHED
                    and connection.peer == reading.peer
                    and reading.may_be(connection, age)
                ):
                    with suppress(OSError):  # it may have gone by itself
                        connection.socket.shutdown(socket.SHUT_RD)
                    found.remove(connection)
                    break


def cut_short(peer: str, port: int) -> bool:
    """Whether a connection from `peer` has a request under way and its client has stopped sending for good."""
    with ExitStack() as held:
        return any(
            connection.state == _CLOSED or (connection.state == _CLOSE_WAIT and connection.peer == peer)
            for connection in _connections(port, held)
            if connection.received <= connection.sent
        )


class _Connection(NamedTuple):
    socket: socket.socket
    peer: str
    state: int
    sent: int
    received: int
    used: bool

    @property
    def doubtful(self) -> bool:
        """Whether it may as well be idle: its last answer and last data came within a tick of the kernel's clock."""
        return self.used and self.received == self.sent


def _connections(port: int, held: ExitStack) -> list[_Connection]:
    """The process's TCP connections that came to `port`, as duplicates that `held` closes.

    With the peer's address ("" once reset), and how many milliseconds ago data was last sent and received.
    """
    found = []
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            duplicate = held.enter_context(socket.socket(fileno=os.dup(int(name))))
            if duplicate.family not in (socket.AF_INET, socket.AF_INET6) or duplicate.getsockname()[1] != port:
                continue
            info = _INFO.unpack_from(duplicate.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256))
            if info[0] == _LISTENING:
                continue
            peer = "" if info[0] == _CLOSED else duplicate.getpeername()[0].removeprefix("::ffff:")
        except (OSError, struct.error):  # closed meanwhile, or no TCP connection
            continue
        found.append(
            _Connection(duplicate, peer, info[0], info[_LAST_SENT], info[_LAST_RECEIVED], info[_BYTES_ACKED] > 0)
        )
    return found
