"""A dataflow as an operator has it: a headrace.yaml, a log that is fed, processes that are started and killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import yaml
from deltalake import DeltaTable, QueryBuilder

from connectors.log import Log, open_log
from connectors.record import Record, keyed_request_id, new_request_id, now_microseconds
from flows.config import Config, load

STREAM = "11111111-2222-4333-8444-555555555555"


def write_config(directory: Path, text: Mapping[str, Any]) -> Path:
    """A headrace.yaml in `directory`; a stream `pay` with the id STREAM unless `text` says otherwise."""
    path = directory / "headrace.yaml"
    path.write_text(yaml.safe_dump({"streams": {"pay": {"id": STREAM}}} | dict(text)))
    return path


def append(log: Log, events: list[dict[str, Any]], *, key: str | None = None, stream: str = STREAM) -> list[str]:
    """Appends one request; the ids of its events."""
    request = keyed_request_id(stream, key) if key is not None else new_request_id()
    value = "\n".join(json.dumps(event) for event in events).encode()
    log.append(Record(stream, request, now_microseconds(), len(events), value))
    return [f"{request}-{index}" for index in range(len(events))]


def drain(config: Path, *, processes: int = 1, environment: Mapping[str, str] | None = None) -> None:
    """Runs the dataflow until it has committed all that the log holds."""
    running = [Worker(config, number, processes, "--drain", environment=environment) for number in range(processes)]
    try:
        for worker in running:
            worker.wait_for("flushed")
    finally:
        for worker in running:
            worker.kill()


class Worker:
    """One dataflow process."""

    def __init__(
        self, config: Path, number: int, processes: int, *more: str, environment: Mapping[str, str] | None = None
    ) -> None:
        command = [sys.executable, "-m", "flows.worker", "--config", str(config)]
        command += ["--process", str(number), "--processes", str(processes), "--parent", str(os.getpid()), *more]
        self._errors = (config.parent / f"worker-{number}.log").open("ab")
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=os.environ | dict(environment or {})
        )
        self._said: set[str] = set()
        self._news = threading.Condition()
        self._ended = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._said.add(line.split()[0])
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, word: str, seconds: float = 120) -> None:
        """Returns once the process has said `word`; AssertionError with its log if it ends or takes too long."""
        with self._news:
            self._news.wait_for(lambda: word in self._said or self._ended, seconds)
            if word not in self._said:
                raise AssertionError(f"no {word!r}: {Path(self._errors.name).read_text()[-3000:]}")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        self._process.send_signal(number)
        self._process.wait(30)
        self._errors.close()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    @property
    def log(self) -> str:
        """What it has logged, and those before it of its number."""
        return Path(self._errors.name).read_text()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None


def run_until(
    config: Path, what: Callable[[], object], *, processes: int = 1, end: signal.Signals = signal.SIGKILL
) -> None:
    """Runs the dataflow until `what` holds, and ends it by the signal `end`: any but SIGKILL is waited for."""
    workers = [Worker(config, number, processes) for number in range(processes)]
    try:
        until(what, 120, what="what is waited for")
        if end is not signal.SIGKILL:
            for worker in workers:
                worker.wait_for("ready")  # before it is, a signal ends it where it stands
            for worker in workers:
                worker.signal(end)
            for worker in workers:
                worker.wait_for("flushed")
    finally:
        for worker in workers:
            worker.kill()


def kill_at_random(
    config: Path, processes: int, dice: random.Random, kills: int, has_landed: Callable[[], object]
) -> int:
    """Starts dataflow processes and kills them -9, one or several at a time, until `kills` have been; how many there were.

    The moment is the test's input: most often a while after the start, sometimes within it. A start is over when its first
    commit is, since a kill before tries little: at the first start `has_landed` says how long after `ready` that is, and
    each start after it has the time until `ready` that the machine has for it.
    """
    workers: dict[int, Worker] = {}
    killed, boot, commit = 0, 0.0, 0.0
    try:
        while killed < kills:
            began = time.monotonic()
            for number in range(processes):
                if number not in workers:
                    workers[number] = Worker(config, number, processes)
            if boot and dice.random() < 0.2:
                time.sleep(dice.uniform(0.1, boot))
            else:
                for worker in workers.values():
                    worker.wait_for("ready")
                if not boot:
                    ready = time.monotonic()
                    until(has_landed, what="the first that lands")
                    boot, commit = time.monotonic() - began, time.monotonic() - ready
                time.sleep(max(0.0, commit + dice.uniform(-0.3, 1.2)))
            for number in dice.sample(range(processes), dice.randint(1, processes)):
                workers.pop(number).kill()
                killed += 1
    finally:
        for worker in workers.values():
            worker.kill()
    return killed


class Feeder:
    """Appends requests from a thread until it is stopped; some of them twice, as a client does that got no answer."""

    def __init__(self, log: Log, seed: int, *, pause: float = 0.01) -> None:
        self.acknowledged: list[str] = []
        self.repeats = 0
        self._log = log
        self._random = random.Random(seed)
        self._pause = pause
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._feed)
        self._thread.start()

    def _feed(self) -> None:
        number = 0
        try:
            while not self._stop.wait(self._pause):
                number += 1
                events = [
                    {"source": "app", "event": {"n": number, "i": index, "amount": self._random.random()}}
                    for index in range(self._random.randint(1, 60))
                ]
                key = f"k{number}" if number % 5 == 0 else None
                self.acknowledged += append(self._log, events, key=key)
                if key is not None and self._random.random() < 0.5:
                    append(self._log, events, key=key)
                    self.repeats += 1
        except Exception as exc:  # noqa: BLE001 -- raised again where the feeder is stopped
            self._failure = exc

    def stop(self) -> list[str]:
        """The ids of all events that the log acknowledged."""
        self._stop.set()
        self._thread.join(60)
        if self._failure is not None:
            raise self._failure
        return self.acknowledged


def event_ids(config: Config, stream: str = "pay") -> list[str]:
    """The ids in a stream's table, doubles included."""
    return [row[0] for row in rows(config, "event_id", stream)]


def rows(
    config: Config, select: str = "*", stream: str = "pay", destination: str = "lake", where: str = "true"
) -> list[tuple[Any, ...]]:
    """Rows of a stream's table, read without the writer's library where the table is local."""
    settings = config.destinations[destination]
    table = DeltaTable(settings.table_uri(stream), storage_options=settings.storage_options())
    with duckdb.connect() as engine:
        if settings.is_local:
            engine.execute("SET TimeZone = 'UTC'")
            query = f"SELECT {select} FROM read_parquet($files, union_by_name = true, hive_partitioning = true)"
            query += f" WHERE {where}"
            found = engine.sql(query, params={"files": table.file_uris()}).to_arrow_table()
        else:
            found = pa.table(
                QueryBuilder().register("t", table).execute(f"SELECT {select} FROM t WHERE {where}").read_all()
            )
    return list(zip(*(column.to_pylist() for column in found.columns), strict=True))


def version(config: Config, stream: str = "pay", destination: str = "lake") -> int:
    """How many commits a stream's table has had since it was made."""
    settings = config.destinations[destination]
    return DeltaTable(settings.table_uri(stream), storage_options=settings.storage_options()).version()


def landed_so_far(config: Any, destination: str = "lake", stream: str = "pay") -> list[str]:
    try:
        return [row[0] for row in rows(config, "event_id", stream, destination=destination)]
    except Exception:  # noqa: BLE001 -- no table yet, or its server is down: nothing to see
        return []


def letters(config: Config) -> list[dict[str, Any]]:
    """The dead letters that there are; none before the first."""
    place = config.data / "dead_letters"
    if not (place / "_delta_log").exists():
        return []
    files = DeltaTable(str(place)).file_uris()
    if not files:  # it is made, and its first letters are on their way
        return []
    with duckdb.connect() as engine:
        return engine.sql("SELECT * FROM read_parquet($files)", params={"files": files}).to_arrow_table().to_pylist()


def opened(path: Path) -> tuple[Config, Log]:
    """The configuration and its log."""
    config = load(path)
    return config, open_log(config.log)


def until(condition: Any, seconds: float = 60, *, what: str = "the condition") -> None:
    """Waits for a condition; AssertionError naming `what` when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {seconds} s")
        time.sleep(0.05)
