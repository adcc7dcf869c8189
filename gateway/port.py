"""The port the gateway listens on: ours before anything listens, and ours until the last process lets it go."""

from __future__ import annotations

import errno
import socket

from connectors.errors import HeadraceError


def reserve(host: str, port: int, *, shared: bool = False) -> tuple[str, socket.socket]:
    """The numeric address of `host`, and a socket that keeps `port` (0: a free one) ours until it is closed.

    It never listens, so no connection comes to it; servers of this user share the port with it by SO_REUSEPORT. First
    the port is taken alone, so that no other server's is shared, unless it is `shared`: another process of ours keeps
    it already. HeadraceError, with the remedy, where it cannot be had.
    """
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        if not shared:
            where = _take_alone(family, where, port)
        kept = socket.socket(family)
        try:
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            kept.bind(where)
        except OSError:
            kept.close()
            raise
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            remedy = "stop what listens there, or choose another with --port (0 picks a free one)"
            raise HeadraceError(f"port {port} of {host} is taken", remedy=remedy) from exc
        raise HeadraceError(
            f"cannot listen on {host}:{port}: {exc.strerror or exc}", remedy="choose another --host or --port"
        ) from exc
    return str(where[0]), kept


def _take_alone(family: socket.AddressFamily, where: object, port: int) -> tuple[str, int]:
    with socket.socket(family) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind(where)  # type: ignore[arg-type]
        if port != 0:
            alone.listen(1)
        taken: tuple[str, int] = alone.getsockname()
        return taken
