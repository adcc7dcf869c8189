"""A real Apache Kafka broker, one node in KRaft mode, for as long as a test session or a test wants it."""

from __future__ import annotations

import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from tests.services.maven import java, libraries
from tests.services.process import ServerProcess, free_ports

_POM = Path(__file__).with_name("pom.xml")
_HEAP = ["-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


class KafkaBroker(ServerProcess):
    """A broker with its data in `directory`; `bootstrap` is where clients reach it, also after a restart.

    A broker tells its clients where it is, so a proxy's port has to be known to it: for each of the ports `through`,
    `behind` has the one that the proxy is to connect to.
    """

    def __init__(self, directory: Path, through: Sequence[int] = ()) -> None:
        self._java = [java(), *_HEAP, "-cp", f"{libraries('kafka', _POM)}/*"]
        directory.mkdir(parents=True, exist_ok=True)
        port, controller, *self.behind = free_ports(2 + len(through))
        self.bootstrap = f"127.0.0.1:{port}"
        properties = directory / "server.properties"
        proxied = dict(zip(self.behind, through, strict=True))
        properties.write_text(_properties(directory / "data", port, controller, proxied))
        cluster = urlsafe_b64encode(b"h" + uuid.uuid4().bytes[1:]).decode().rstrip("=")  # never begins with a dash
        storage = [*self._java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
        subprocess.run(storage, check=True, capture_output=True, timeout=60)
        super().__init__(
            "Kafka", [*self._java, "kafka.Kafka", str(properties)], directory / "broker.log", self._has_a_broker
        )

    def _has_a_broker(self) -> bool:
        try:
            client = KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=2000)
        except (KafkaError, OSError):
            return False
        try:
            return bool(client.describe_cluster()["brokers"])
        except (KafkaError, OSError):
            return False
        finally:
            client.close()


def _properties(data: Path, port: int, controller: int, proxied: Mapping[int, int]) -> str:
    listening = {"PLAINTEXT": port, **{f"BEHIND{at}": at for at in proxied}}
    told = {"PLAINTEXT": port, **{f"BEHIND{at}": proxy for at, proxy in proxied.items()}}
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": _listeners({**listening, "CONTROLLER": controller}),
        "advertised.listeners": _listeners(told),
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in (*listening, "CONTROLLER")),
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        "broker.session.timeout.ms": 2000,  # a broker that was killed is let back in when its old session is over
        "broker.heartbeat.interval.ms": 500,
        "num.network.threads": 2,
        "num.io.threads": 2,
        "background.threads": 2,
        "log.cleaner.dedupe.buffer.size": 8_388_608,
        "message.max.bytes": 2_097_152,
    }
    return "\n".join(f"{name}={value}" for name, value in settings.items()) + "\n"


def _listeners(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
