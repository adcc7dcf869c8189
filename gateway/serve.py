"""Runs the gateway under Granian: worker processes, each with its own application, sharing one port."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

from connectors.counting import count_in, count_together
from connectors.errors import HeadraceError
from connectors.parent import die_with
from gateway.reloading import Source, follow
from gateway.settings import Settings
from gateway.tokens import TokenStore, tokens_path

_STOP_SECONDS = 15
_POLL_SECONDS = 0.1


def serve(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    workers: int | None = None,
    on_ready: Callable[[str], None] | None = None,
    source: Source | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what is under way. Belongs to a process's main thread.

    `port` 0 picks a free one. `on_ready` is called once, from another thread, with the URL (`http://127.0.0.1:8080`) as
    soon as an event can be taken. `source` is asked for changed settings. HeadraceError if the address cannot be had.
    SystemExit(1) if the workers failed.
    """
    address, reserved = _reserve(host, port)
    port = reserved.getsockname()[1]
    TokenStore(tokens_path(settings.data)).close()  # a store that cannot be opened stops us here, with the reason
    count_in(settings.data / "metrics")
    server = Granian(
        "gateway",
        address=address,
        port=port,
        interface=Interfaces.WSGI,
        workers=workers or min(4, os.cpu_count() or 1),
        blocking_threads=settings.threads,
        backlog=2048,
        backpressure=2048,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=int(settings.header_timeout * 1000)),
        log_level=LogLevels.error,
        respawn_failed_workers=True,
        workers_kill_timeout=_STOP_SECONDS,
    )
    if on_ready is not None:
        shown = f"[{address}]" if ":" in address else address
        reached = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(shown, shown)  # noqa: S104 # compared, not bound
        server.on_startup(_announcer(f"http://{reached}:{port}", f"http://{shown}:{port}", on_ready))
    if source is not None:  # what this process takes, a worker that is started later begins with
        follow(source, lambda _: None, tell=True)
    try:
        server.serve(target_loader=partial(_application, settings, source, os.getpid()), wrap_loader=False)
    finally:
        reserved.close()


def _application(settings: Settings, source: Source | None, parent: int) -> Any:
    """The application of one worker process."""
    die_with(parent, signal.SIGTERM)  # not SIGKILL: what is under way is finished
    count_together()
    from connectors.telemetry import configure_logging
    from gateway.app import create_app

    configure_logging()
    if source is None:
        return create_app(settings)
    app = create_app(source.begin())
    follow(source, app.extensions["headrace"]["ingest"].take)
    return app


def _reserve(host: str, port: int) -> tuple[str, socket.socket]:
    """The numeric address, and a socket that keeps the port ours: Granian's workers share it by SO_REUSEPORT.

    It never listens, so no connection comes to it. First the port is taken alone: another server's must not be shared.
    """
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(where)
            if port != 0:
                alone.listen(1)
            where = alone.getsockname()
        reserved = socket.socket(family)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(where)
    except OSError as exc:
        raise HeadraceError(
            f"cannot listen on {host}:{port}: {exc.strerror or exc}", remedy="choose another with --host or --port"
        ) from exc
    return str(where[0]), reserved


def _announcer(probe: str, url: str, on_ready: Callable[[str], None]) -> Callable[[], None]:
    def announce() -> None:
        while True:
            time.sleep(_POLL_SECONDS)
            try:
                with urllib.request.urlopen(f"{probe}/readyz", timeout=5):  # noqa: S310 # our own http address
                    break
            except (urllib.error.URLError, OSError):
                continue
        on_ready(url)

    return threading.Thread(target=announce, name="announce-ready", daemon=True).start
