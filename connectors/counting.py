"""Counts that several processes keep together, in files of a directory that all of them know.

prometheus-client keeps a file a process id, which has two faults here: every process that is started again leaves its
file behind for ever, and what a dead process measured last looks as if it lived. So a process counts in a *place*: it
takes the lowest number that no living process holds, by a lock that the kernel gives back however the process ends. It
counts on where the one before it stopped, and begins anew with what is only true of the living. There are never more
files than processes that ran at one time.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import IO

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, multiprocess, start_http_server, values
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from connectors.errors import HeadraceError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the directory: the one that prometheus-client has for it."""

BUILD_INFO = "headrace_build_info"

_held: list[IO[str]] = []  # locks that this process keeps until it ends


def count_in(parent: Path) -> Path:
    """An empty directory below `parent` where this process and its children count, for as long as this process lives.

    Where the environment names a directory already (a parent process has made it) that is used as it is.
    """
    if DIRECTORY in os.environ:
        directory = Path(os.environ[DIRECTORY])
    else:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            directory = parent / _lowest(parent)
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
        except OSError as exc:
            raise HeadraceError(
                f"making a directory for metrics in {parent}: {exc.strerror}",
                remedy="make room, or mend its permissions",
            ) from exc
        os.environ[DIRECTORY] = str(directory)
    count_together()
    return directory


def count_together() -> None:
    """Has this process count for all where the environment names a directory; called before the first count.

    A process that is forked from it calls this for itself.
    """
    if DIRECTORY in os.environ:
        directory = Path(os.environ[DIRECTORY])
        directory.mkdir(parents=True, exist_ok=True)
        name = _Name(directory)
        values.ValueClass = values.MultiProcessValue(name)  # type: ignore[no-untyped-call] # the library leaves it untyped


def exposition() -> bytes:
    """All metrics in Prometheus' text format: of every process that counts together, or of this one alone."""
    return generate_latest(_registry())


def serve_exposition(host: str, port: int) -> str:
    """Answers scrapes from a thread of its own until this process ends; returns the URL. `port` 0 picks a free one."""
    try:
        server, _ = start_http_server(port, host, registry=_registry())
    except OSError as exc:
        raise HeadraceError(
            f"cannot serve metrics on {host}:{port}: {exc.strerror or exc}",
            remedy="choose another with --metrics-host or --metrics-port",
        ) from exc
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{server.server_port}/metrics"


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Build())
    registry.register(_Together(Path(os.environ[DIRECTORY])) if DIRECTORY in os.environ else REGISTRY)
    return registry


class _Together(Collector):
    """The counts of a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        """Everything that was ever counted there, and what is true of the processes that live."""
        files = []
        for file in sorted(self._directory.glob("*.db")):
            kind, _, place = file.stem.rpartition("_")
            is_gone = kind.startswith("gauge_live") and _is_free(self._directory / f"{place}.lock")
            if not is_gone and file.stat().st_size:
                files.append(str(file))
        found: Iterable[Metric] = multiprocess.MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return found


class _Build(Collector):
    """Which headrace this is."""

    def collect(self) -> Iterable[Metric]:
        info = GaugeMetricFamily(BUILD_INFO, "1 for the version that runs.", labels=["version"])
        info.add_metric([version("headrace")], 1)
        return [info]


class _Name:
    """Names this process's files, in place of its id: called for every count, so it asks the system nothing."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name = ""
        os.register_at_fork(after_in_child=self._forget)

    def __call__(self) -> str:
        if not self._name:
            self._name = _lowest(self._directory)
            for file in self._directory.glob(f"gauge_live*_{self._name}.db"):
                file.unlink(missing_ok=True)
        return self._name

    def _forget(self) -> None:
        self._name = ""


def _lowest(directory: Path) -> str:
    """The lowest number that nobody holds, held from now on by this process."""
    number = 0
    while (lock := _taken(directory / f"{number}.lock")) is None:
        number += 1
    _held.append(lock)
    return str(number)


def _taken(file: Path) -> IO[str] | None:
    lock = file.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _is_free(file: Path) -> bool:
    """Whether no process holds it. Who wants it at this very moment takes another."""
    try:
        with file.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True
    return True
