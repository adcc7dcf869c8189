"""A test run that is killed leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import wait_for
from tests.torture.processes import is_alive

ROOT = Path(__file__).parents[2]

RUN = """
import sys, time
from pathlib import Path
from tests.flows.pipelines import Worker, opened, write_config
from tests.services.process import ServerProcess
from tests.torture.processes import children

def test_it(tmp_path):
    deaf = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    deaf += "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True);"
    server = ServerProcess("deaf", [sys.executable, "-c", deaf + "time.sleep(600)"], tmp_path / "log", lambda: True)
    server.start()
    opened(path := write_config(tmp_path, {}))
    worker = Worker(path, 0, 1)
    worker.wait_for("ready")
    while len(below := children(BELOW)) < 4:
        time.sleep(0.05)
    Path("below").write_text(" ".join(map(str, below)))
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is kept on Linux alone")
@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_run_has_started_ends_with_it(number: signal.Signals, workers: str, tmp_path: Path) -> None:
    """Of the run's workers, too, each of which has a leash of its own."""
    (tmp_path / "test_it.py").write_text(RUN.replace("BELOW", "__import__('os').getpid()"))
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "-n", workers, "test_it.py"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, process_group=0, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        below = wait_for(lambda: (tmp_path / "below").exists() and (tmp_path / "below").read_text(), "its processes")
    finally:
        os.killpg(run.pid, number)
        run.wait(30)
    pids = [int(pid) for pid in below.split()]
    assert len(pids) >= 4
    wait_for(lambda: not any(map(is_alive, pids)), "the end of all of them", 30)
