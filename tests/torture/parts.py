"""What runs in a torture: the servers, the proxies between them and headrace, the gateway, the dataflow."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import urllib3

from connectors.log import Log, open_log
from flows.config import Config, load
from tests.services.kafka import KafkaBroker
from tests.services.opensearch import OpenSearch
from tests.services.process import ServerProcess, ServiceMissingError, free_ports
from tests.services.seaweedfs import SeaweedFS
from tests.torture import settings
from tests.torture.clock import Clock, library
from tests.torture.hook import Hook
from tests.torture.processes import children
from tests.torture.proxy import Proxy

GROUP = "headrace"
_DISK_BYTES = 256 * 1024 * 1024


class Kept:
    """A `headrace` command that is kept running, as an init system does: started again when it has ended by itself."""

    def __init__(self, name: str, directory: Path, arguments: Callable[[], list[str]], clock: Clock) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self.ended: Counter[int] = Counter()  # how often it ended by itself, by exit code
        self._directory = directory
        self._arguments = arguments
        self._clock = clock
        self._wanted = False
        self._due = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._wanted = True
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "headrace", *self._arguments()],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=os.environ | self._clock.environment(),
            )

    def kill(self) -> None:
        """kill -9 of the process itself: what becomes of its children is headrace's to see to."""
        self._end(signal.SIGKILL, 20)

    def stop(self, seconds: float = 60) -> int | None:
        """SIGTERM; the exit code, None where it had to be killed."""
        return self._end(signal.SIGTERM, seconds)

    def revive(self) -> None:
        """Starts it again, a second after it has ended by itself."""
        if not self._wanted or self.process is None or (code := self.process.poll()) is None:
            return
        if not self._due:
            self._due = time.monotonic() + 1
            self.ended[code] += 1
        elif time.monotonic() >= self._due:
            self._due = 0.0
            self.start()

    def pids(self, *, below: bool = True) -> list[int]:
        """It and its descendants, or only those."""
        if self.process is None or self.process.poll() is not None:
            return []
        own = [] if below else [self.process.pid]
        return own + children(self.process.pid)

    def workers(self) -> list[int]:
        """The dataflow's processes."""
        return sorted(pid for pid in self.pids() if "flows.worker" in _command(pid))

    def _end(self, number: int, seconds: float) -> int | None:
        self._wanted, self._due = False, 0.0
        process, self.process = self.process, None
        if process is None:
            return 0
        with suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
            return None


class Parts:
    """All of them. With `local` there are no servers: an embedded log, and a lake on the disk."""

    def __init__(self, directory: Path, *, local: bool) -> None:
        self.directory = directory
        self.local = local
        self.without: dict[str, str] = {}  # kinds of faults that cannot be had, and why
        self.processes = 2
        self.change = 0
        self.hook = Hook()
        self.proxies: dict[str, Proxy] = {}
        self.servers: dict[str, ServerProcess] = {}
        self.data = directory / "data"
        self.path = directory / "headrace.yaml"
        self._mount_data()
        preloaded = self._clock()
        self.clocks = {name: Clock(directory / f"clock-{name}", preloaded) for name in ("gateway", "dataflow")}
        self._servers()
        self.configure()
        os.environ[settings.SECRET] = "headrace-tests-secret"
        [self.port] = free_ports(1)
        file = ["-c", str(self.path)]
        self.gateway = Kept(
            "gateway",
            directory,
            lambda: ["serve", "--port", str(self.port), "--workers", "2", *self._via(file, "gateway")],
            self.clocks["gateway"],
        )
        self.dataflow = Kept(
            "dataflow", directory, lambda: ["run", "--processes", str(self.processes), *file], self.clocks["dataflow"]
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def targets(self) -> list[str]:
        """What a fault can be done to."""
        return [
            *("gateway", "gateway worker", "dataflow", "worker", "all workers", "HTTP", "data"),
            *self.servers,
            *self.proxies,
        ]

    def start(self) -> str:
        """Starts headrace; the token of its clients."""
        every = [option for stream in settings.STREAMS for option in ("--stream", stream)]
        command = [sys.executable, "-m", "headrace", "token", "create", *every, "--json", "-c", str(self.path)]
        made = subprocess.run(command, capture_output=True, timeout=240, check=True)
        self.gateway.start()
        self.dataflow.start()
        self.wait(self.is_ready, 240, "the gateway")
        return str(json.loads(made.stdout)["token"])

    def revive(self) -> None:
        for part in (self.gateway, self.dataflow):
            part.revive()

    def is_ready(self) -> bool:
        try:
            return urllib3.request("GET", f"{self.url}/readyz", timeout=5, retries=False).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def wait(self, condition: Callable[[], bool], seconds: float, what: str, *, every: float = 0.1) -> bool:
        """Keeps headrace running until the condition holds; whether it did in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                print(f"  {what}: not within {seconds:.0f} s", flush=True)
                return False
            self.revive()
            time.sleep(every)
        return True

    def configure(self) -> None:
        """Writes headrace.yaml: the dataflow's way to Kafka, S3, … is by the proxies."""
        for name, way in (("", "dataflow-Kafka"), ("gateway", "gateway-Kafka")):
            self._write(self._file(name), way)

    def config(self) -> tuple[Config, Log]:
        """The configuration with its own ways to the servers, by no proxy, and the log."""
        direct = self._file("direct")
        self._write(direct, None)
        config = load(direct)
        return config, open_log(config.log)

    def _file(self, name: str) -> Path:
        return self.path.with_name(f"headrace-{name}.yaml") if name else self.path

    def _via(self, file: list[str], name: str) -> list[str]:
        return [file[0], str(self._file(name))]

    def _write(self, file: Path, kafka: str | None) -> None:
        def way(name: str, direct: str) -> str:
            return f"http://127.0.0.1:{self.proxies[name].port}" if kafka is not None else direct

        broker, store, node = (self.servers.get(name) for name in ("Kafka", "S3", "OpenSearch"))
        bootstrap = None
        if isinstance(broker, KafkaBroker):
            bootstrap = broker.bootstrap if kafka is None else f"127.0.0.1:{self.proxies[kafka].port}"
        s3 = (way("dataflow-S3", store.endpoint), store.access_key) if isinstance(store, SeaweedFS) else None
        search = way("dataflow-OpenSearch", node.url) if isinstance(node, OpenSearch) else None
        hook = way("dataflow-HTTP", self.hook.url)
        settings.write(file, data=self.data, kafka=bootstrap, s3=s3, search=search, hook=hook, change=self.change)

    def _servers(self) -> None:
        hook, *ports = free_ports(5)
        self.proxies["dataflow-HTTP"] = Proxy(hook, self.hook.port)
        if self.local:
            return
        broker = KafkaBroker(self.directory / "kafka", through=ports[:2])
        store = SeaweedFS(self.directory / "s3")
        node = OpenSearch(self.directory / "opensearch")
        self.servers = {"Kafka": broker, "S3": store, "OpenSearch": node}
        for server in self.servers.values():
            server.start(seconds=120)
        store.make_bucket("torture")
        self.proxies["gateway-Kafka"] = Proxy(ports[0], broker.behind[0])
        self.proxies["dataflow-Kafka"] = Proxy(ports[1], broker.behind[1])
        self.proxies["dataflow-S3"] = Proxy(ports[2], int(store.endpoint.rpartition(":")[2]))
        self.proxies["dataflow-OpenSearch"] = Proxy(ports[3], node.port)

    def _mount_data(self) -> None:
        """A disk of its own for headrace's data, so that it can be full: a tmpfs, in this process's mount namespace."""
        self.data.mkdir()
        size = f"size={_DISK_BYTES}"
        mount = shutil.which("mount") or "mount"
        done = subprocess.run(
            [mount, "-t", "tmpfs", "-o", size, "tmpfs", str(self.data)], capture_output=True, check=False
        )
        if done.returncode != 0:
            self.without["disk full"] = "no file system can be mounted here, as root or in a user namespace"

    def _clock(self) -> Path | None:
        try:
            return library(self.directory)
        except ServiceMissingError as exc:
            self.without["clock"] = str(exc)
            return None


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
