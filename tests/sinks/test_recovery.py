"""The dataflow's state after a crash: what an unfinished epoch left is gone, what a finished one left stays."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import HeadraceError
from flows.recovery import PARTITIONS, prepare, resume_epoch

# Two keys take turns; the process kills itself in the middle of an epoch, its snapshots written, its end not.
FLOW = """
import os, sys
from datetime import timedelta
import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main
from bytewax.testing import TestingSource

def count(total, value):
    if value == 7 and sys.argv[2] == "die":
        os.kill(os.getpid(), 9)
    return (total or 0) + 1, value

flow = Dataflow("flow")
stream = op.input("in", flow, TestingSource(range(10)))
keyed = op.key_on("key", stream, lambda value: str(value % 2))
counted = op.stateful_map("count", keyed, count)
op.inspect("out", counted)
cli_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(sys.argv[1], timedelta(days=1)))
"""


def execute(directory: Path, statement: str, *values: object) -> list[Any]:
    rows: list[Any] = []
    for store in sorted(directory.glob("part-*.sqlite3")):
        with closing(sqlite3.connect(store)) as db, db:
            rows += db.execute(statement, values).fetchall()
    return rows


@pytest.mark.parametrize(
    ("executions", "frontiers", "resume"),
    [
        ([], [], 1),
        ([(0, 1, 1)], [], 1),
        ([(0, 1, 1)], [(0, 0, 5)], 5),
        ([(0, 2, 1)], [(0, 0, 5)], 1),
        ([(0, 2, 1)], [(0, 0, 5), (0, 1, 4), (0, 1, 6)], 5),
        ([(0, 1, 1), (1, 1, 9)], [(0, 0, 9)], 9),
        ([(0, 3, 1), (1, 1, 9)], [(0, 0, 9), (0, 1, 12), (1, 0, 11)], 11),
        ([(1, 2, 9), (1, 2, 9)], [(1, 0, 12), (1, 1, 13)], 12),
        ([(1, 1, 9)], [(1, 0, 3)], 9),
    ],
)
def test_the_slowest_worker_of_the_latest_execution_decides(
    executions: list[tuple[int, int, int]], frontiers: list[tuple[int, int, int]], resume: int
) -> None:
    assert resume_epoch(executions, frontiers) == resume


def test_a_killed_flow_leaves_only_the_state_of_finished_epochs(tmp_path: Path) -> None:
    state = tmp_path / "state"
    prepare(state)
    flow = tmp_path / "flow.py"
    flow.write_text(FLOW)
    killed = subprocess.run([sys.executable, flow, state, "die"], capture_output=True, timeout=60, check=False)
    assert killed.returncode == -9
    frontiers = execute(state, "SELECT ex_num, worker_index, worker_frontier FROM fronts")
    executions = execute(state, "SELECT ex_num, worker_count, resume_epoch FROM exs")
    resume = resume_epoch(executions, frontiers)
    finished = execute(state, "SELECT snap_epoch FROM snaps WHERE snap_epoch < ?", resume)
    assert finished
    # What a crash in another place leaves: a later snapshot of the same key.
    store = min(state.glob("part-*.sqlite3"))
    with closing(sqlite3.connect(store)) as db, db:
        for epoch in (resume, resume + 1):
            db.execute(
                "INSERT OR REPLACE INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES ('x', '0', ?, x'00')",
                (epoch,),
            )
    prepare(state)
    assert execute(state, "SELECT snap_epoch FROM snaps WHERE snap_epoch >= ?", resume) == []
    assert sorted(execute(state, "SELECT snap_epoch FROM snaps")) == sorted(finished)
    again = subprocess.run(
        [sys.executable, flow, state, "live"], capture_output=True, text=True, timeout=60, check=False
    )
    assert again.returncode == 0, again.stderr
    resumed = execute(state, "SELECT resume_epoch FROM exs WHERE ex_num = 1")
    assert {epoch for (epoch,) in resumed} == {resume}  # ours is the epoch that the engine itself began with


def test_a_store_that_was_half_made_when_the_process_was_killed_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "data" / "0-of-1"

    class Killed(BaseException):
        pass

    def half(directory: Path, _count: int) -> None:
        (directory / "part-0.sqlite3").touch()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("flows.recovery.init_db_dir", half)
        with pytest.raises(Killed):
            prepare(state)
    for _ in range(2):
        prepare(state)
        assert execute(state, "SELECT ex_num FROM exs") == []
    assert len(list(state.glob("part-*.sqlite3"))) == PARTITIONS


def test_a_store_that_is_no_database_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "part-0.sqlite3").write_bytes(b"not a database" * 100)
    with pytest.raises(HeadraceError, match="cannot be read") as refused:
        prepare(tmp_path)
    assert str(tmp_path) in str(refused.value)
    assert "move" in refused.value.remedy
