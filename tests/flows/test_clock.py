"""A clock that is set back while the dataflow runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.pipelines import append, landed_so_far, opened, until, write_config
from tests.services.process import ServiceMissingError
from tests.torture.clock import Clock, library


def test_events_go_on_landing_after_the_clock_was_set_back(tmp_path: Path) -> None:
    try:
        preloaded = library(tmp_path)
    except ServiceMissingError as exc:
        pytest.skip(str(exc))
    path = write_config(tmp_path, {})
    config, log = opened(path)
    clock = Clock(tmp_path / "clock", preloaded)
    clock.jump(5400)
    command = [sys.executable, "-m", "headrace", "run", "-c", str(path)]
    with (tmp_path / "run.log").open("w") as said:
        run = subprocess.Popen(command, env=os.environ | clock.environment(), stdout=said, stderr=said, process_group=0)
    try:
        append(log, [{"source": "app", "event": {"n": 1}}])
        until(lambda: len(landed_so_far(config)) >= 1, what="the first event")
        clock.jump(0)
        append(log, [{"source": "app", "event": {"n": 2}}])
        until(lambda: len(landed_so_far(config)) >= 2, what="the second event")
    finally:
        run.terminate()
        run.wait(60)
