"""The dataflow on several hosts: each runs its share with `--addresses`, with a data directory of its own."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.config import Config
from tests.cli.conftest import Up, run
from tests.flows.pipelines import STREAM, Feeder, event_ids, landed_so_far, opened, until, write_config

ANEW = "a stream's memory is not in this data directory"


def hosts(directory: Path, request: pytest.FixtureRequest, count: int, **text: Any) -> list[Path]:
    """A configuration file a host: one topic and one lake for all, a data directory for each."""
    topic = f"hosts-{random.randrange(10**9)}"
    log = {"kafka": {"bootstrap_servers": request.getfixturevalue("kafka"), "topic": topic, "partitions": 4}}
    lake = {"type": "delta", "uri": str(directory / "lake" / "{stream}"), "commit_interval": "200ms"}
    found = []
    for number in range(count):
        home = directory / f"host-{number}"
        home.mkdir()
        found.append(write_config(home, {"log": log, "destinations": {"lake": lake}, **text}))
    return found


@contextmanager
def running(configs: Mapping[int, Path], processes: int) -> Iterator[dict[int, Up]]:
    """`headrace run` on each of these hosts, as those of `processes`."""
    addresses = ";".join(f"host-{number}:2101" for number in range(processes))
    with ExitStack() as stack:
        started: dict[int, Up] = {}
        for number, config in configs.items():
            up = Up(config.parent, ["run", "--process-id", str(number), "--addresses", addresses])
            stack.callback(_kill, up)
            started[number] = up
        for up in started.values():
            up.wait_until_ready()
        yield started


def _kill(host: Up) -> None:
    if host.process.poll() is None:
        os.killpg(host.process.pid, signal.SIGKILL)
        host.process.wait(30)


def once(config: Config, sent: list[str]) -> None:
    until(lambda: set(landed_so_far(config)) >= set(sent), 90, what="the last event")
    assert [event for event, times in Counter(event_ids(config)).items() if times > 1] == []


@pytest.mark.timeout(300)
def test_hosts_share_the_log_and_one_is_killed_replaced_and_joined_by_another(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    one, two, three = hosts(tmp_path, request, 3)
    config, log = opened(one)
    feeder = Feeder(log, random.randrange(10**6))
    try:
        with running({0: one, 1: two}, 2) as started:
            until(lambda: len(landed_so_far(config)) > 200, what="some events")
            _kill(started[1])
            with running({1: two}, 2):
                seen = len(landed_so_far(config))
                until(lambda: len(landed_so_far(config)) > seen + 200, what="more events")
            # every host ends without a farewell here; three go on, one of them with nothing on its disk
        with running({0: one, 1: two, 2: three}, 3):
            seen = len(landed_so_far(config))
            until(lambda: len(landed_so_far(config)) > seen + 200, what="still more events")
            once(config, feeder.stop())
    finally:
        feeder.stop()
        log.close()


@pytest.mark.timeout(300)
def test_what_a_memory_on_a_lost_host_held_comes_with_a_replay(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    window = {"name": "w", "key": "source", "length": "1m", "lateness": "1s", "aggregate": {"n": "count(*)"}}
    streams = {"pay": {"id": STREAM, "steps": [{"window": window}]}}
    one, two = hosts(tmp_path, request, 2, streams=streams)
    config, log = opened(one)
    feeder = Feeder(log, random.randrange(10**6))
    try:
        with running({0: one}, 1):
            until(lambda: len(landed_so_far(config)) > 200, what="some events")
        with running({0: two}, 1):
            seen = len(landed_so_far(config))
            until(lambda: len(landed_so_far(config)) > seen + 200, what="more events")
            sent = feeder.stop()
            done = run("replay", "pay", "--from", "1h", "--into", "lake", cwd=two.parent)
            assert done.returncode == 0, done.stderr
            assert ANEW not in done.stderr, "a replay has a memory of its own"
            once(config, sent)
            assert (two.parent / "errors.log").read_text().count(ANEW) == 1
    finally:
        feeder.stop()
        log.close()
