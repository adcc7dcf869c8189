"""Promise 4: a destination that is slow or down delays only itself; it catches up when it returns; memory stays bounded."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from connectors.cursor import BATCH_BYTES
from connectors.sinks.delivery import INBOX_BYTES
from tests.flows.pipelines import (
    STREAM,
    Feeder,
    Worker,
    append,
    drain,
    landed_so_far,
    opened,
    until,
    write_config,
)
from tests.services.seaweedfs import SeaweedFS

COMMIT_BYTES = 8_000_000
BOTH = ("lake", "far")


class Pipeline:
    """A headrace.yaml with a lake on the local disk and one, `far`, in an S3 server; a log; a dataflow process."""

    def __init__(self, directory: Path, server: SeaweedFS) -> None:
        server.make_bucket("far")
        self.server = server
        self._metrics = directory / "metrics"
        self._metrics.mkdir()
        lake = {"type": "delta", "uri": "./lake/{stream}", "commit_interval": "100ms"}
        far = {
            "type": "delta",
            "uri": "s3://far/{stream}",
            "endpoint": server.endpoint,
            "region": "us-east-1",
            "access_key_id": server.access_key,
            "secret_access_key": "${TEST_S3_SECRET}",
            "commit_interval": "100ms",
            "commit_bytes": f"{COMMIT_BYTES}B",
        }
        stream = {"id": STREAM, "routes": [{"to": list(BOTH)}]}
        text = {"destinations": {"lake": lake, "far": far}, "streams": {"pay": stream}}
        self.path = write_config(directory, text)
        self.config, self.log = opened(self.path)
        self.environment = {"PROMETHEUS_MULTIPROC_DIR": str(self._metrics)}
        self.worker: Worker | None = None

    def start(self) -> None:
        self.worker = Worker(self.path, 0, 1, environment=self.environment)
        self.worker.wait_for("ready")

    def kill(self) -> None:
        if self.worker is not None:
            self.worker.kill()
            self.worker = None

    def metric(self, name: str) -> float:
        """Of `far`, as Prometheus would read it."""
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._metrics))
        return registry.get_sample_value(f"headrace_destination_{name}", {"destination": "far"}) or 0.0

    def landed(self, destination: str) -> Counter[str]:
        return Counter(landed_so_far(self.config, destination))

    def wait_for_all(self, expected: list[str], *destinations: str) -> None:
        for name in destinations:
            until(lambda name=name: len(self.landed(name)) >= len(expected), 120, what=f"every event in {name}")
            assert self.landed(name) == Counter(expected)


@pytest.fixture
def pipeline(own_s3: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    monkeypatch.setenv("TEST_S3_SECRET", own_s3.secret_key)
    made = Pipeline(tmp_path, own_s3)
    yield made
    made.kill()
    made.log.close()


@pytest.mark.parametrize("fate", ["silent", "killed", "absent"])
def test_the_others_keep_up_with_what_comes_while_one_is_away_and_it_catches_up(fate: str, pipeline: Pipeline) -> None:
    server = pipeline.server
    expected = append(pipeline.log, [{"source": "a", "event": {"n": 0}}])
    if fate == "absent":
        server.kill()
    pipeline.start()
    if fate != "absent":
        pipeline.wait_for_all(expected, "far")
    if fate == "silent":
        server.signal(signal.SIGSTOP)
    elif fate == "killed":
        server.kill()
    try:
        for n in range(1, 6):
            expected += append(pipeline.log, [{"source": "a", "event": {"n": n}}] * 10, key=f"k{n}")
            append(pipeline.log, [{"source": "a", "event": {"n": n}}] * 10, key=f"k{n}")  # a repeat, for both
            pipeline.wait_for_all(expected, "lake")
        if fate != "silent":  # nothing tells a silent one from a slow one until its time is up
            until(lambda: pipeline.metric("circuit") == 2, what="the open circuit in the metrics")
    finally:
        if fate == "silent":
            server.signal(signal.SIGCONT)
    if fate != "silent":
        server.start()
    pipeline.wait_for_all(expected, *BOTH)
    until(lambda: pipeline.metric("behind_records") == 0, what="that it is read for with the others again")
    expected += append(pipeline.log, [{"source": "a", "event": {"n": 9}}])
    pipeline.wait_for_all(expected, *BOTH)
    if fate != "silent":
        assert pipeline.metric("circuit") == 0


def test_what_one_holds_is_bounded_however_long_it_does_not_answer(pipeline: Pipeline) -> None:
    requests = 2 * INBOX_BYTES // 900_000
    pipeline.start()
    expected = append(pipeline.log, [{"source": "a", "event": {"text": "x"}}])
    pipeline.wait_for_all(expected, "far")
    pipeline.server.signal(signal.SIGSTOP)
    try:
        for _ in range(requests):
            expected += append(pipeline.log, [{"source": "a", "event": {"text": "x" * 9_000}}] * 100)
        held: list[float] = []

        def kept_up() -> bool:
            held.append(pipeline.metric("held_bytes"))
            return len(pipeline.landed("lake")) == len(expected) and pipeline.metric("behind_records") > 0

        until(kept_up, 120, what="all in the lake")
    finally:
        pipeline.server.signal(signal.SIGCONT)
    assert COMMIT_BYTES < max(held) <= INBOX_BYTES + COMMIT_BYTES + 2 * BATCH_BYTES
    pipeline.wait_for_all(expected, *BOTH)


def test_a_process_that_is_killed_while_one_is_away_goes_on_for_both(pipeline: Pipeline) -> None:
    pipeline.start()
    feeder = Feeder(pipeline.log, 7)
    try:
        until(lambda: pipeline.landed("far"), what="the first commit")
        pipeline.server.kill()
        for _ in range(2):
            until(lambda: pipeline.metric("behind_records") > 0, what="that it falls behind")
            pipeline.kill()
            before = len(pipeline.landed("lake"))
            pipeline.start()
            until(lambda before=before: len(pipeline.landed("lake")) > before, what="that the lake goes on")
        pipeline.server.start()
        before = len(pipeline.landed("lake"))
        until(lambda: len(pipeline.landed("far")) > before, 120, what="that it catches up")
    finally:
        expected = feeder.stop()
    assert feeder.repeats
    pipeline.kill()
    drain(pipeline.path)
    for name in BOTH:
        assert pipeline.landed(name) == Counter(expected)


def test_a_clean_stop_does_not_wait_for_one_that_is_away(pipeline: Pipeline) -> None:
    pipeline.server.kill()
    pipeline.start()
    assert pipeline.worker is not None
    expected = append(pipeline.log, [{"source": "a", "event": {"n": 0}}])
    pipeline.wait_for_all(expected, "lake")
    until(lambda: pipeline.metric("circuit") == 2, what="the open circuit")
    pipeline.worker.signal(signal.SIGTERM)
    pipeline.worker.wait_for("flushed", 25)
    pipeline.kill()
    pipeline.server.start()
    drain(pipeline.path)
    assert pipeline.landed("far") == Counter(expected)


def test_a_destination_taken_out_holds_nothing_and_one_put_in_gets_what_comes(tmp_path: Path) -> None:
    lakes = {name: {"type": "delta", "uri": f"./{name}/{{stream}}"} for name in ("lake", "old", "new")}
    (tmp_path / "old").write_text("a file where a directory should be")

    def configured(*names: str) -> Any:
        stream = {"id": STREAM, "routes": [{"to": list(names)}]}
        text = {"destinations": {name: lakes[name] for name in names}, "streams": {"pay": stream}}
        return opened(write_config(tmp_path, text))

    config, log = configured("lake", "old")
    worker = Worker(tmp_path / "headrace.yaml", 0, 1)
    try:
        first = append(log, [{"source": "a", "event": {"n": 1}}])
        until(lambda: landed_so_far(config) == first, what="the event in the lake")
    finally:
        worker.kill()
    config, log = configured("lake", "new")
    second = append(log, [{"source": "a", "event": {"n": 2}}])
    drain(tmp_path / "headrace.yaml")
    assert Counter(landed_so_far(config)) == Counter(first + second)
    assert second[0] in landed_so_far(config, "new")
    assert log.committed("headrace") == {partition: end for partition, end in ends(log).items() if end}


def ends(log: Any) -> dict[int, int]:
    reader = log.reader(range(log.partitions), {}, group="looking")
    found: dict[int, int] = reader.end_offsets()
    reader.close()
    return found
