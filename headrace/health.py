"""What `headrace doctor` examines: each part is tried, not asked."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from connectors.errors import HeadraceError

if TYPE_CHECKING:
    from connectors.sinks.settings import Destination, Pushed
    from flows.config import Config

_LITTLE_ROOM, _NO_ROOM = 5_000_000_000, 200_000_000  # bytes


class Finding(msgspec.Struct, frozen=True):
    """One part: whether it works, what was seen, and what to do."""

    part: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str = ""


def examine(file: Path, *, host: str, port: int) -> list[Finding]:
    """Every part's finding; parts that need a configuration are left out where there is no valid one."""
    from headrace.commands.version import ENGINES

    findings = [_python(), Finding("engines", "ok", ", ".join(f"{name} {version(name)}" for name in ENGINES))]
    findings += _configuration(file)
    findings.append(_port(host, port))
    if any(finding.status == "fail" and finding.part == "configuration" for finding in findings):
        return findings
    from flows.config import load

    config = load(file)
    findings.append(_attempt("data", lambda: _room(config.data)))
    findings.append(_attempt("log", lambda: _log(config)))
    findings.append(_attempt("tokens", lambda: _tokens(config)))
    for name, destination in config.destinations.items():
        findings.append(_attempt(f"destination {name}", partial(_destination, name, destination, config)))
    return findings


def _attempt(part: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except HeadraceError as exc:
        return Finding(part, "fail", exc.what, exc.remedy)
    except OSError as exc:
        return Finding(
            part, "fail", f"{exc.filename or part}: {exc.strerror}", "check that it exists and may be written"
        )


def _python() -> Finding:
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return Finding("python", "ok", sys.version.split()[0])
    return Finding("python", "fail", sys.version.split()[0], "headrace needs Python 3.11 or 3.12")


def _configuration(file: Path) -> Iterator[Finding]:
    from flows.config import check

    try:
        problems = check(file)
    except HeadraceError as exc:
        yield Finding("configuration", "fail", exc.what, exc.remedy)
        return
    for problem in problems:
        yield Finding("configuration", "fail" if problem.severity == "error" else "warn", str(problem))
    if not problems:
        yield Finding("configuration", "ok", str(file))


def _port(host: str, port: int) -> Finding:
    import urllib3

    from gateway.port import reserve

    try:
        reserve(host, port)[1].close()
    except HeadraceError as exc:
        try:
            answer = urllib3.request("GET", f"http://{host}:{port}/readyz", timeout=2.0, retries=False)
        except urllib3.exceptions.HTTPError:
            return Finding("port", "fail", exc.what, exc.remedy)
        if answer.status == 200:
            return Finding("port", "ok", f"a gateway answers at http://{host}:{port} and can take events")
        if answer.status == 503:
            return Finding(
                "port", "fail", f"a gateway answers at http://{host}:{port}, not ready: {answer.data.decode()}"
            )
        return Finding("port", "fail", exc.what, exc.remedy)
    return Finding("port", "ok", f"{host}:{port} is free")


def _room(data: Path) -> Finding:
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=data) as probe:
        probe.write(b"headrace")
        os.fsync(probe.fileno())
    free = shutil.disk_usage(data).free
    detail = f"{data} can be written, {free / 1e9:.1f} GB free"
    if free < _LITTLE_ROOM:
        return Finding(
            "data", "fail" if free < _NO_ROOM else "warn", detail, "make room, or set `data` to another disk"
        )
    return Finding("data", "ok", detail)


def _log(config: Config) -> Finding:
    from connectors.log import KafkaLogSettings, open_log

    log = open_log(config.log)
    try:
        log.check()
        kind = "Kafka" if isinstance(config.log, KafkaLogSettings) else "embedded"
        return Finding("log", "ok", f"{kind}, {log.partitions} partitions, takes appends")
    finally:
        log.close()


def _tokens(config: Config) -> Finding:
    from headrace.wiring import open_tokens, state_of

    usable = sum(state_of(token) == "valid" for token in open_tokens(config).list())
    if usable:
        return Finding("tokens", "ok", f"{usable} in force")
    return Finding("tokens", "warn", "none in force: every request is refused", "headrace token create --stream NAME")


def _endpoint(name: str, destination: Pushed, config: Config) -> Finding:
    from flows.destinations import open_endpoint

    open_endpoint(name, destination, config).connect().close()
    return Finding(f"destination {name}", "ok", "its settings can be used; nothing was sent to it")


def _destination(name: str, destination: Destination, config: Config) -> Finding:
    from connectors.sinks.settings import Pushed
    from connectors.sinks.snowflake.session import Session
    from connectors.sinks.snowflake.settings import SnowflakeDestination

    part = f"destination {name}"
    if isinstance(destination, Pushed):
        return _endpoint(name, destination, config)
    if isinstance(destination, SnowflakeDestination):
        Session(destination).close()
        return Finding(part, "ok", f"signed in; files can be staged in {'.'.join(destination.place)}")
    if not destination.is_local:
        from connectors.sinks.probe import prove_conditional_put

        prove_conditional_put(destination)
        return Finding(part, "ok", f"{destination.uri} can be written and honours conditional puts")
    folder = Path(destination.table_uri(next(iter(config.streams), "probe"))).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe-"):
        pass
    return Finding(part, "ok", f"{folder} can be written")
