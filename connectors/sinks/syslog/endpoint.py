"""The syslog destination: connections that send batches of rows, and what is sent again when one of them breaks."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

import msgspec
import pyarrow as pa

from connectors.errors import Transient
from connectors.logger import get_logger
from connectors.sinks.connection import Refusal
from connectors.sinks.syslog.frames import Frames
from connectors.sinks.syslog.settings import SyslogDestination
from connectors.sinks.syslog.wire import Wire, dial
from connectors.telemetry import ROWS_SENT_AGAIN
from connectors.values import as_written

_log = get_logger()


class Sent(msgspec.Struct, frozen=True):
    """Frames that the server's TCP has acknowledged, and when (monotonic seconds): it may not have read them yet."""

    frames: memoryview
    rows: int
    at: float


class Window:
    """What a connection would have lost if it broke: the newest frames, within a number of bytes and an age.

    The age counts up to when the connection was last seen to be open, not to when it is found broken.
    """

    def __init__(self, most: int, within: float) -> None:
        self._most = most
        self._within = within
        self._bytes = 0
        self.sent: deque[Sent] = deque()

    def add(self, sent: Sent) -> None:
        """Keeps `sent`, and lets go of what is too old, or more than the window needs to span its bytes."""
        self.sent.append(sent)
        self._bytes += len(sent.frames)
        self.trim(sent.at)
        while self._bytes - len(self.sent[0].frames) >= self._most:
            self._forget()

    def trim(self, now: float) -> None:
        """Lets go of what is too old."""
        while self.sent and now - self.sent[0].at > self._within:
            self._forget()

    def _forget(self) -> None:
        self._bytes -= len(self.sent.popleft().frames)


class SyslogEndpoint:
    """A syslog server (implements `Endpoint`). `name` is the destination's, for counters."""

    def __init__(self, settings: SyslogDestination, name: str) -> None:
        self.settings = settings
        self.name = name
        self._orphans: list[Window] = []
        self._lock = threading.Lock()

    @property
    def max_rows(self) -> int:
        """See `Endpoint`."""
        return self.settings.batch_rows

    @property
    def max_bytes(self) -> int:
        """See `Endpoint`."""
        return self.settings.batch_bytes

    def connect(self) -> SyslogConnection:
        """See `Endpoint.connect`. A broken connection's successor sends again what that one may have lost."""
        wire = dial(self.settings)
        return SyslogConnection(self, wire, self.adopt())

    def new_window(self) -> Window:
        """An empty window of the configured size."""
        return Window(self.settings.resend_bytes, self.settings.resend_within.total_seconds())

    def adopt(self) -> list[Window]:
        """The windows of connections that were broken and then given up."""
        with self._lock:
            orphans, self._orphans = self._orphans, []
            return orphans

    def orphan(self, windows: Sequence[Window]) -> None:
        """Keeps windows for the next connection."""
        with self._lock:
            self._orphans += [window for window in windows if window.sent]


class SyslogConnection:
    """One connection and its window (implements `Connection`). A broken one dials anew at the next `send`."""

    def __init__(self, endpoint: SyslogEndpoint, wire: Wire, unsure: list[Window]) -> None:
        self._endpoint = endpoint
        self._wire: Wire | None = wire
        self._unsure = unsure
        self._window = endpoint.new_window()
        self._frames = Frames(endpoint.settings)

    def send(self, stream: str, rows: pa.Table) -> Sequence[Refusal]:
        """See `Connection.send`: acknowledged is what the server's TCP has acknowledged. Raises Transient."""
        frames, count, refusals = self._frames.of(stream, rows)
        try:
            wire = self._ready()
            self._send_again(wire)
            if count:
                wire.write(frames)
                wire.settle()
        except OSError as exc:
            self._broken()
            what = f"sending to {as_written(self._endpoint.settings.address)}: {exc.strerror or exc}"
            raise Transient(what, remedy="the rows are sent again") from exc
        if count:
            self._window.add(Sent(frames, count, time.monotonic()))
        return refusals

    def close(self) -> None:
        """See `Connection.close`. Where the server did not close in order, the next connection sends the window again."""
        wire, self._wire = self._wire, None
        unsure = [*self._unsure]
        if wire is not None and not wire.end():
            unsure.append(self._window)
            rows = sum(sent.rows for sent in self._window.sent)
            _log.warning("syslog_server_did_not_close", destination=self._endpoint.name, rows_unsure=rows)
        self._endpoint.orphan(unsure)
        self._unsure = []
        self._frames.close()

    def _ready(self) -> Wire:
        """The connection, seen to be open a moment ago."""
        if self._wire is not None:
            try:
                self._wire.look()
            except OSError:
                self._broken()
        if self._wire is None:
            self._wire = dial(self._endpoint.settings)
        return self._wire

    def _broken(self) -> None:
        if self._wire is not None:
            self._window.trim(self._wire.seen)
            self._wire.drop()
            self._wire = None
        self._unsure.append(self._window)
        self._window = self._endpoint.new_window()

    def _send_again(self, wire: Wire) -> None:
        """Sends what broken connections may have lost, oldest first; it stays unsure until this one has taken it."""
        self._unsure += self._endpoint.adopt()
        while self._unsure:
            window = self._unsure[0]
            for sent in window.sent:
                wire.write(sent.frames)
            wire.settle()
            ROWS_SENT_AGAIN.labels(self._endpoint.name).inc(sum(sent.rows for sent in window.sent))
            for sent in window.sent:
                self._window.add(Sent(sent.frames, sent.rows, time.monotonic()))
            self._unsure.pop(0)
