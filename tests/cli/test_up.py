"""`headrace up`, `serve`, `run`: how they start, stop, and what they do when a part dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import urllib3

from tests.cli.conftest import Place, Up, environment, run, wait_for

EVENT = b'{"source": "test", "event": {"n": 1}}'


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_and_what_was_accepted_has_landed(place: Place, number: int) -> None:
    with place.running() as up:
        assert urllib3.request("GET", f"{up.url}/readyz", timeout=10).status == 200
        assert place.post(up.url, EVENT).status == 200
        children = up.descendants()
        assert len(children) >= 4  # gateway and its worker, dataflow and its process
        assert up.stop(number) == 0
    assert up.errors.read_text() == ""  # no part had to be killed, none left anything uncommitted
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert len(place.rows("event_id")) == 1


def test_a_supervisor_killed_with_minus_nine_leaves_no_process_behind(place: Place) -> None:
    with place.running() as up:
        children = up.descendants()
        assert len(children) >= 4
        up.process.kill()
        up.process.wait()
        wait_for(lambda: not [p for p in children if _lives(p)], "the end of all children")


def _oldest(up: Up, part: str) -> int:
    """The process of a part whose forks the others are. Their numbers tell nothing, for these begin anew."""
    begun = {}
    for pid, line in up.descendants().items():
        if part in line:
            with suppress(OSError):
                begun[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return min(begun, key=lambda pid: begun[pid])


@pytest.mark.parametrize("part", ["headrace serve", "headrace run", "flows.worker"])
def test_a_part_that_dies_is_started_again_and_nothing_is_lost(place: Place, part: str) -> None:
    with place.running() as up:
        assert place.post(up.url, EVENT).status == 200
        victim = _oldest(up, part)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: not _lives(victim), "its end")

        def accepted() -> bool:
            try:
                return place.post(up.url, EVENT, **{"Idempotency-Key": "again"}).status == 200
            except urllib3.exceptions.HTTPError:
                return False

        wait_for(accepted, "the gateway's return on the same port")
        place.wait_for_rows(2)
        assert up.stop() == 0
    assert len({row["event_id"] for row in place.rows("event_id")}) == len(place.rows("event_id")) == 2


def test_while_the_gateway_is_started_again_its_port_goes_to_nobody_else(place: Place) -> None:
    with place.running() as up:
        port = int(up.url.rsplit(":", 1)[1])
        gateway = min(pid for pid, line in up.descendants().items() if "headrace serve" in line)
        os.kill(gateway, signal.SIGKILL)

        def answers() -> bool:
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))
            try:
                return place.post(up.url, EVENT).status == 200
            except urllib3.exceptions.HTTPError:
                return False

        wait_for(lambda: not _lives(gateway), "its end")
        wait_for(answers, "the gateway's return")


def test_a_taken_port_is_one_line_with_the_remedy(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for command in ("up", "serve"):
            failed = run(command, "--port", port, cwd=place.directory)
            assert failed.returncode == 1
            assert failed.stderr.count("\n") == 1
            assert port in failed.stderr
            assert "--port" in failed.stderr


@pytest.mark.parametrize("command", ["up", "serve", "run"])
def test_a_broken_configuration_ends_it_with_the_place_of_the_mistake(place: Place, command: str) -> None:
    place.config.write_text("streams:\n  events:\n    identity: x\n")
    failed = run(command, cwd=place.directory)
    assert failed.returncode == 1
    assert "headrace.yaml:3" in failed.stderr


def test_a_missing_configuration_says_what_to_do(tmp_path: Path) -> None:
    failed = run("up", cwd=tmp_path)
    assert failed.returncode == 1
    assert "headrace init" in failed.stderr


def test_a_second_up_on_the_same_data_is_refused_and_the_first_goes_on(place: Place) -> None:
    with place.running() as up:
        second = run("up", "--port", "0", cwd=place.directory)
        assert second.returncode == 1
        assert "another dataflow already runs" in second.stderr
        assert place.post(up.url, EVENT).status == 200


def test_serve_takes_events_and_run_drain_lands_them_later(place: Place) -> None:
    with place.running("serve", "--port", "0", "--workers", "1") as gateway:
        assert place.post(gateway.url, EVENT).status == 200
    assert place.rows() == []
    assert run("run", "--drain", cwd=place.directory).returncode == 0
    assert [row["event"] for row in place.rows()] == [{"n": 1}]


def test_run_alone_says_when_it_is_ready(place: Place) -> None:
    with place.running("run") as dataflow:
        assert dataflow.stop(signal.SIGINT) == 0


def test_the_dataflow_is_an_ordinary_bytewax_flow(place: Place) -> None:
    with place.running("serve", "--port", "0", "--workers", "1") as gateway:
        assert place.post(gateway.url, EVENT).status == 200
    (place.directory / "state").mkdir()
    made = [sys.executable, "-m", "bytewax.recovery", "state", "1"]
    subprocess.run(made, cwd=place.directory, env=environment(), timeout=60, check=True)
    flow = [sys.executable, "-m", "bytewax.run", "flows.graph:pipeline('headrace.yaml')"]
    flow += ["-r", "state", "-s", "1", "-b", "0"]
    process = subprocess.Popen(flow, cwd=place.directory, env=environment(), process_group=0)
    try:
        place.wait_for_rows(1)
    finally:
        process.kill()
        process.wait()


def test_a_process_id_beyond_the_processes_is_wrong_usage(place: Place) -> None:
    failed = run("run", "--processes", "2", "--process-id", "2", cwd=place.directory)
    assert failed.returncode == 2


def _lives(pid: int) -> bool:
    """Whether the process runs; one that has ended but was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
