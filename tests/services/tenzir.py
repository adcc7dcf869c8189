"""A real receiver of Splunk's HEC protocol: Tenzir, from PyPI, in an environment of its own in the cache.

It has no indexer acknowledgement. Splunk itself is in no package registry.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.services.certificates import Authority
from tests.services.process import ServerProcess, free_ports
from tests.services.pypi import program

_VERSION = "6.20.0"


class Collector(ServerProcess):
    """Takes events with the token `token` at `url`, over TLS where `tls`; what it took is in `received()`."""

    token = "headrace-tests-token"

    def __init__(self, directory: Path, *, tls: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        tenzir = program("tenzir", _VERSION, "tenzir")
        self.authority = Authority(directory / "authority")
        certificate, key = self.authority.issue("collector")
        [port] = free_ports(1)
        self.tls = tls
        self.url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
        self._output = directory / "received.ndjson"
        options = f'hec_token="{self.token}"'
        if tls:
            options += f', tls={{certfile: "{certificate}", keyfile: "{key}"}}'
        pipeline = directory / "pipeline.tql"
        accept = f'accept_splunk "127.0.0.1:{port}", {options}'
        pipeline.write_text(f'{accept}\nto_file "{self._output}" {{ write_ndjson }}\n')
        command = [str(tenzir), f"--cache-directory={directory / 'cache'}", "-f", str(pipeline)]
        super().__init__("Tenzir", command, directory / "tenzir.log", self._answers)

    def received(self) -> list[dict[str, Any]]:
        """The events so far: `time`, `host`, …, `event`, `fields`."""
        lines = self._output.read_bytes().split(b"\n")[:-1] if self._output.exists() else []
        return [json.loads(line) for line in lines]

    def _answers(self) -> bool:
        import ssl

        trusting = ssl.create_default_context(cafile=str(self.authority.ca))
        try:
            with urllib.request.urlopen(f"{self.url}/services/collector/health", timeout=2, context=trusting) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False
