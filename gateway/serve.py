"""Runs the gateway under Granian: worker processes, each with its own application, sharing one port."""

from __future__ import annotations

import os
import signal
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
from connectors.parent import die_with
from gateway.port import reserve
from gateway.reloading import Source, follow
from gateway.settings import Settings
from gateway.tokens import TokenStore, tokens_path

_STOP_SECONDS = 15
_POLL_SECONDS = 0.05


def serve(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    workers: int | None = None,
    on_ready: Callable[[str], None] | None = None,
    source: Source | None = None,
    reserved: bool = False,
) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what is under way. Belongs to a process's main thread.

    `port` 0 picks a free one. `on_ready` is called once, from another thread, with the URL (`http://127.0.0.1:8080`) as
    soon as an event can be taken. `source` is asked for changed settings. The port may be `reserved` by the process that
    started this one. HeadraceError if the address cannot be had. SystemExit(1) if the workers failed.
    """
    address, kept = reserve(host, port, shared=reserved)
    port = kept.getsockname()[1]
    TokenStore(tokens_path(settings.data)).close()  # a store that cannot be opened stops us here, with the reason
    count_in(settings.data / "metrics")
    count = workers or min(4, os.cpu_count() or 1)
    server = Granian(
        "gateway",
        address=address,
        port=port,
        interface=Interfaces.WSGI,
        workers=count,
        blocking_threads=settings.threads,
        backlog=2048,
        backpressure=2048,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=int(settings.header_timeout * 1000)),
        log_level=LogLevels.error,
        respawn_failed_workers=True,
        workers_kill_timeout=_STOP_SECONDS,
    )
    begun, beginning = os.pipe()
    shown = f"[{address}]" if ":" in address else address
    reached = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(shown, shown)  # noqa: S104 # compared, not bound

    def beside() -> None:
        # Workers are forks. A thread that works while one is made may hold a lock that the fork then waits for for ever.
        for _ in range(count):
            os.read(begun, 1)
        if source is not None:  # what this process takes, a worker that is started later begins with
            follow(source, lambda _: None, tell=True)
        if on_ready is not None:
            _wait_until_ready(f"http://{reached}:{port}")
            on_ready(f"http://{shown}:{port}")

    threading.Thread(target=beside, name="beside-workers", daemon=True).start()
    try:
        server.serve(target_loader=partial(_worker, settings, source, os.getpid(), beginning), wrap_loader=False)
    finally:
        kept.close()


def _worker(settings: Settings, source: Source | None, parent: int, beginning: int) -> Any:
    """The application of one worker process, which says by a byte to `beginning` that it has begun."""
    for number in (signal.SIGINT, signal.SIGTERM):  # until the server sets its own: the parent's would only note it
        signal.signal(number, signal.SIG_DFL)
    os.write(beginning, b".")
    die_with(parent, signal.SIGTERM, within=_STOP_SECONDS)  # not SIGKILL: what is under way is finished
    return _application(settings, source)


def _application(settings: Settings, source: Source | None) -> Any:
    count_together()
    from connectors.logger import configure_logging
    from gateway.app import create_app

    configure_logging()
    if source is None:
        return create_app(settings)
    app = create_app(source.begin())
    follow(source, app.extensions["headrace"]["ingest"].take)
    return app


def _wait_until_ready(url: str) -> None:
    while True:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):  # noqa: S310 # our own http address
                return
        except (urllib.error.URLError, OSError):
            time.sleep(_POLL_SECONDS)
