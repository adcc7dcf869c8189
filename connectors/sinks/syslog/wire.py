"""A TCP or TLS connection to a server that answers nothing: written to, waited for, and ended so that nothing is lost.

TCP tells only what the other *host* has taken. Three things are done about that. `settle` returns once the other
host's TCP has acknowledged every byte (Linux: SIOCOUTQ). A server that went away is noticed before anything is written
to it, because the kernel would take the bytes all the same. And a connection is ended in order: TLS is shut down,
then our side, and then what the server still says is read until it has closed too; a socket closed with unread bytes in
it (TLS 1.3 session tickets) is reset, and what it had still to send, perhaps what the server had not read, is lost.
"""

from __future__ import annotations

import fcntl
import socket
import ssl
import struct
import sys
import termios
import time
from contextlib import suppress

from connectors.errors import ConfigError, HeadraceError, Transient
from connectors.sinks.syslog.settings import SyslogDestination
from connectors.values import as_written

_PIECE = 262_144  # bytes a write: so often is it seen whether the server is still there


class Wire:
    """One connection, used by one thread. OSError from its methods means that it broke."""

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self._socket = sock
        self._timeout = timeout
        self.seen = time.monotonic()
        """When the server was last seen not to have closed its side."""

    def write(self, data: memoryview) -> None:
        """Hands over all of `data`; TimeoutError where nothing of it was taken for `timeout` seconds."""
        self._socket.settimeout(self._timeout)
        while data:
            self.look()
            data = data[self._socket.send(data[:_PIECE]) :]

    def look(self) -> None:
        """Raises ConnectionError where the server has closed its side. What it says is thrown away."""
        self._socket.setblocking(False)
        try:
            while self._socket.recv(65_536):
                pass
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self.seen = time.monotonic()
            return
        finally:
            self._socket.settimeout(self._timeout)
        raise ConnectionResetError("the server closed the connection")

    def settle(self) -> None:
        """Returns once the other host has acknowledged every byte; TimeoutError where it did not go on doing so."""
        deadline, before, pause = time.monotonic() + self._timeout, -1, 0.0002
        while waiting := self._unacknowledged():
            self.look()
            if waiting != before:
                before, deadline = waiting, time.monotonic() + self._timeout
            elif time.monotonic() > deadline:
                raise TimeoutError(f"{waiting} bytes were not acknowledged within {self._timeout:g} s")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)
        self.look()

    def end(self) -> bool:
        """Closes in order; False where the server did not close within the timeout or broke off."""
        try:
            self.settle()
            if isinstance(self._socket, ssl.SSLSocket):
                self._unwrap()
            self._socket.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + self._timeout
            while self._socket.recv(65_536):
                if time.monotonic() > deadline:
                    return False
        except OSError:
            return False
        finally:
            self.drop()
        return True

    def drop(self) -> None:
        """Closes at once."""
        with suppress(OSError):
            self._socket.close()

    def _unwrap(self) -> None:
        """Sends TLS's close_notify; the socket is plain afterwards. Many servers answer it by closing."""
        assert isinstance(self._socket, ssl.SSLSocket)
        with suppress(ssl.SSLError):
            self._socket = self._socket.unwrap()

    def _unacknowledged(self) -> int:
        if sys.platform != "linux":
            return 0  # only the window for sending again stands there: docs/configuration.md says so
        answer = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, b"\0" * 4)
        return int(struct.unpack("i", answer)[0])


def dial(settings: SyslogDestination) -> Wire:
    """A new connection to the server. Raises Transient, and ConfigError where certificates are not as they should be."""
    timeout = settings.timeout.total_seconds()
    context = _context(settings) if settings.is_tls else None
    sock: socket.socket | None = None
    try:
        sock = socket.create_connection((settings.host, settings.port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname=settings.server_name or settings.host)
        return Wire(sock, timeout)
    except OSError as exc:
        if sock is not None:
            sock.close()
        raise _unreachable(as_written(settings.address), exc) from exc


def _context(settings: SyslogDestination) -> ssl.SSLContext:
    password = settings.client_key_password
    try:
        context = ssl.create_default_context(cafile=None if settings.ca_file is None else str(settings.ca_file))
        if settings.client_cert is not None:
            context.load_cert_chain(
                settings.client_cert, settings.client_key, password=password and str.__str__(password)
            )
    except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
        names = ", ".join(str(f) for f in (settings.ca_file, settings.client_cert, settings.client_key) if f)
        raise ConfigError(
            f"the certificates for {as_written(settings.address)} cannot be used ({names}): {exc}",
            remedy="ca_file, client_cert and client_key are PEM files; client_key_password opens an encrypted key",
        ) from exc
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _unreachable(address: str, exc: OSError) -> HeadraceError:
    if isinstance(exc, ssl.SSLCertVerificationError):
        what = f"{address} shows a certificate that cannot be trusted: {exc.verify_message}"
        return ConfigError(
            what, remedy="set `ca_file` to the authority that signed it, or `server_name` to a name in it"
        )
    if isinstance(exc, ssl.SSLError):
        return Transient(
            f"{address} does not speak TLS as it should: {exc.reason or exc}", remedy="is its port a TLS one?"
        )
    if isinstance(exc, socket.gaierror):
        return Transient(f"{address}: its name is not known: {exc.strerror}", remedy="look at `address` and the DNS")
    return Transient(f"connecting to {address}: {exc.strerror or exc}", remedy="is the server up, and its port open?")
