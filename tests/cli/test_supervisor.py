"""The supervisor beside parts that end badly."""

from __future__ import annotations

import queue
import sys
import time
from pathlib import Path

import pytest

from headrace import supervisor
from headrace.supervisor import Part

STUCK = """#!{python}
import os, signal, time
if not os.fork():
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    print("ready", os.getpid(), flush=True)
    time.sleep(600)
time.sleep(0.2)
"""


@pytest.fixture
def stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Part:
    """A part that ends, and leaves a process that minds no signal but one and has its output."""
    program = tmp_path / "stuck"
    program.write_text(STUCK.format(python=sys.executable))
    program.chmod(0o700)
    monkeypatch.setattr(supervisor.sys, "executable", str(program))
    monkeypatch.setattr(supervisor, "_LEFT_DEADLINE", 1.0)
    return Part("gateway", [])


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and ") Z" not in Path(f"/proc/{pid}/stat").read_text()


def test_a_process_that_outlives_its_part_is_killed_and_the_end_is_told(stuck: Part) -> None:
    events: queue.SimpleQueue[tuple[str, Part | None]] = queue.SimpleQueue()
    stuck.start(events)
    assert events.get(timeout=30) == ("ready", stuck)
    left = int(stuck.where)
    assert lives(left)
    assert events.get(timeout=30) == ("exit", stuck)
    end = time.monotonic() + 30
    while lives(left):
        assert time.monotonic() < end, "it still lives"
        time.sleep(0.05)


def test_nothing_is_left_of_a_part_that_was_waited_for(stuck: Part) -> None:
    events: queue.SimpleQueue[tuple[str, Part | None]] = queue.SimpleQueue()
    stuck.start(events)
    assert events.get(timeout=30) == ("ready", stuck)
    stuck.stop()
    stuck.wait(30)
    time.sleep(0.2)
    assert not lives(int(stuck.where))
