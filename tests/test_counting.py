"""Counts that processes keep together: they go on when a process is followed by another, and forget what was only true of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COUNTS = """
import sys
from connectors.counting import count_together, exposition
count_together()
from connectors.telemetry import DESTINATION_HELD, EVENTS_READ
EVENTS_READ.labels("s").inc(5)
DESTINATION_HELD.labels("d").set(7)
print("counted", flush=True)
sys.stdin.read()
"""
SHOWS = "from connectors.counting import exposition; print(exposition().decode())"


def begin(directory: Path, code: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdin=pipe, stdout=pipe, text=True)


def shown(directory: Path) -> str:
    with begin(directory, SHOWS) as shows:
        return shows.communicate()[0]


def test_counts_are_summed_and_outlive_the_process_and_measures_do_not(tmp_path: Path) -> None:
    for dead in range(3):
        with begin(tmp_path, COUNTS) as one, begin(tmp_path, COUNTS) as other:
            for process in (one, other):
                assert process.stdout is not None
                assert process.stdout.readline() == "counted\n"
            text = shown(tmp_path)
            assert f'headrace_events_read_total{{stream="s"}} {10.0 * (dead + 1)}' in text
            assert 'headrace_destination_held_bytes{destination="d"} 14.0' in text
            one.kill()
            one.wait()
            assert 'headrace_destination_held_bytes{destination="d"} 7.0' in shown(tmp_path)
            other.kill()
    text = shown(tmp_path)
    assert 'headrace_events_read_total{stream="s"} 30.0' in text
    assert "held_bytes" not in text
    assert len(list(tmp_path.glob("*.db"))) == 4
