"""A changed headrace.yaml is taken under load, whole or not at all, and no event is lost or doubled for it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors.log import Log
from flows.config import load
from tests.flows.pipelines import STREAM, Feeder, append, landed_so_far, opened, rows, until, write_config

OTHER = "22222222-2222-4333-8444-555555555555"


class Running:
    """`headrace run` on a configuration, with what it says."""

    def __init__(self, config: Path, *more: str) -> None:
        self.log = config.parent / "run.log"
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "headrace", "run", "-c", str(config), *more],
                stdout=errors,
                stderr=errors,
                process_group=0,
            )

    def says(self, text: str) -> int:
        return self.log.read_text().count(text)

    def children(self) -> list[int]:
        pid = self.process.pid
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in found]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)


@contextmanager
def running(config: Path, *more: str) -> Iterator[Running]:
    run = Running(config, *more)
    try:
        until(lambda: run.says("ready"), what="a dataflow")
        yield run
    finally:
        if run.process.poll() is None:
            run.process.send_signal(signal.SIGTERM)
            run.process.wait(90)


def marked(mark: str, **more: Any) -> dict[str, Any]:
    stream = {"id": STREAM, "steps": [{"set": {"event.mark": f"'{mark}'"}}]}
    lake = {"type": "delta", "uri": "lake/{stream}", "commit_interval": "200ms"}
    return {"streams": {"pay": stream}, "destinations": {"lake": lake}} | more


def marks(config: Any) -> Counter[str]:
    try:
        return Counter(row[0] for row in rows(config, "event.mark"))
    except Exception:  # noqa: BLE001 -- no table yet
        return Counter()


def event(log: Log, number: int = 0) -> list[str]:
    return append(log, [{"source": "app", "event": {"n": number}}])


@pytest.mark.timeout(300)
def test_changed_under_load_no_event_is_lost_or_doubled(tmp_path: Path) -> None:
    path = write_config(tmp_path, marked("m0"))
    config, log = opened(path)
    with running(path, "--processes", "2") as run:
        feeder = Feeder(log, 7)
        try:
            until(lambda: marks(config)["m0"], what="events of the first configuration")
            for number in (1, 2, 3):
                write_config(tmp_path, marked(f"m{number}"))
                until(lambda wanted=f"m{number}": marks(config)[wanted], what=f"events of m{number}")
        finally:
            acknowledged = feeder.stop()
        until(lambda: len(landed_so_far(config)) >= len(acknowledged), what="every event")
        assert run.stop() == 0
    landed = Counter(landed_so_far(config))
    assert set(landed) == set(acknowledged)
    assert set(landed.values()) == {1}
    assert run.says("configuration taken") == 3
    assert set(marks(config)) == {"m0", "m1", "m2", "m3"}
    log.close()


@pytest.mark.timeout(300)
def test_a_broken_file_is_told_once_with_every_problem_and_the_old_one_stays_whatever_dies(tmp_path: Path) -> None:
    path = write_config(tmp_path, marked("old"))
    config, log = opened(path)
    with running(path) as run:
        path.write_text(path.read_text().replace("steps:", "stepz:").replace("type: delta", "type: detla"))
        until(lambda: run.says("is not taken"), what="the refusal")
        assert run.says("stepz")
        assert run.says("detla")
        (worker,) = run.children()
        subprocess.run(["kill", "-9", str(worker)], check=True)
        until(lambda: run.says("starting it again"), what="a restart")
        ids = event(log)
        until(lambda: landed_so_far(config) == ids, what="an event after a crash")
        assert set(marks(config)) == {"old"}
        assert run.says("is not taken") == 1
        write_config(tmp_path, marked("new"))
        until(lambda: run.says("configuration taken"), what="the mended file")
        ids += event(log)
        until(lambda: sorted(landed_so_far(config)) == sorted(ids), what="an event after the change")
        assert marks(config) == {"old": 1, "new": 1}
    log.close()


@pytest.mark.timeout(300)
def test_where_the_log_and_the_data_are_is_not_changed_in_a_running_dataflow(tmp_path: Path) -> None:
    path = write_config(tmp_path, marked("old"))
    config, log = opened(path)
    with running(path) as run:
        write_config(tmp_path, marked("new", data="elsewhere"))
        until(lambda: run.says("is not taken"), what="the refusal")
        assert run.says("`data`") or run.says("`log` and `data`")
        ids = event(log)
        until(lambda: landed_so_far(config) == ids, what="an event")
        assert set(marks(config)) == {"old"}
        assert not (tmp_path / "elsewhere").exists()
    log.close()


@pytest.mark.timeout(300)
def test_an_event_of_a_stream_that_is_new_waits_for_the_configuration_and_is_no_dead_letter(tmp_path: Path) -> None:
    """A gateway may know the stream before the dataflow does."""
    path = write_config(tmp_path, marked("old"))
    config, log = opened(path)
    with running(path):
        until(lambda: event(log) and landed_so_far(config), what="the first event")
        text = marked("old")
        text["streams"]["more"] = {"id": OTHER}
        write_config(tmp_path, text)
        ids = append(log, [{"source": "app", "event": {"n": 1}}], stream=OTHER)
        known = load(path)

        def landed() -> list[str]:
            try:
                return [row[0] for row in rows(known, "event_id", "more")]
            except Exception:  # noqa: BLE001 -- no table yet
                return []

        until(lambda: landed() == ids, what="the new stream's event")
        assert not list((known.data / "dead_letters").glob("**/*.parquet"))
    log.close()
