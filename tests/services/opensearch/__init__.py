"""A real OpenSearch node, for as long as a test session or a test wants it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import urllib3

from tests.services.maven import java, libraries
from tests.services.process import ServerProcess, free_ports

_HERE = Path(__file__).parent
_HEAP = ["-Xms64m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


class OpenSearch(ServerProcess):
    """A node with its data in `directory`; `url` is where it is reached, also after a restart."""

    def __init__(self, directory: Path) -> None:
        (directory / "config").mkdir(parents=True, exist_ok=True)
        [self.port] = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        jars = libraries("opensearch", _HERE / "pom.xml")
        command = [java(), *_HEAP, "-cp", f"{jars}/*", str(_HERE / "Node.java"), str(directory), str(self.port)]
        super().__init__("OpenSearch", command, directory / "node.log", self._is_ready)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The node's answer to a request of its API."""
        headers = {"Content-Type": "application/json"}
        text = None if body is None else json.dumps(body)
        answer = urllib3.request(method, f"{self.url}/{path}", body=text, headers=headers, retries=False, timeout=30)
        return json.loads(answer.data)

    def documents(self, index: str) -> dict[str, Any]:
        """All documents of an index by `_id`; AssertionError where an id is there twice."""
        self.call("POST", f"{index}/_refresh")
        found = self.call("GET", f"{index}/_search?size=10000")
        if "hits" not in found:
            return {}
        hits = found["hits"]["hits"]
        by_id = {hit["_id"]: hit["_source"] for hit in hits}
        assert len(by_id) == len(hits)
        assert found["hits"]["total"]["relation"] == "eq"
        assert found["hits"]["total"]["value"] == len(hits)
        return by_id

    def _is_ready(self) -> bool:
        try:
            return bool(self.call("GET", "_cluster/health")["status"] in ("green", "yellow"))
        except (urllib3.exceptions.HTTPError, OSError, KeyError, ValueError):
            return False
