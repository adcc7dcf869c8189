"""Bytewax's recovery store, made before a run and cleaned of what a crash left in it.

Bytewax 0.21 keeps the snapshots of an epoch that never finished, and a later run that redoes the epoch without touching
a key loads that key's stale state. So before any worker starts, every snapshot at or past the resume epoch is deleted.
The resume epoch is the minimum over all workers of all recovery partitions, as Bytewax computes it itself.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from bytewax.recovery import init_db_dir

from connectors.errors import HeadraceError

PARTITIONS = 4
"""Fixed for the life of a store; more than the processes that share it is no harm."""


def state_of_log(data: Path, log_identity: str) -> Path:
    """Where all state lies that has to do with a log: offsets mean nothing for another one."""
    return data / "state" / quote(log_identity, safe="")


def state_directory(data: Path, log_identity: str, process: int, processes: int) -> Path:
    """Where a process keeps its state, which is of its share of the log's partitions."""
    return state_of_log(data, log_identity) / f"{process}-of-{processes}"


def prepare(directory: Path) -> None:
    """Makes the store in `directory` if it is not there, and cleans it. No worker may be running."""
    stores = sorted(directory.glob("part-*.sqlite3"))
    if not stores:
        _make(directory)
        return
    try:
        _purge(stores)
    except sqlite3.DatabaseError as exc:
        raise HeadraceError(
            f"the dataflow's state in {directory} cannot be read: {exc}",
            remedy="move the directory away: reading starts over and the tables skip what they have",
        ) from exc


def _make(directory: Path) -> None:
    """All of it or nothing: of a store half made by a process that is killed, no start could tell what it is."""
    making = directory.with_name(f"{directory.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    init_db_dir(making, PARTITIONS)
    making.rename(directory)


def _purge(stores: list[Path]) -> None:
    """Deletes the snapshots of epochs that were not finished everywhere."""
    executions: list[tuple[int, int, int]] = []  # (execution number, workers, resume epoch)
    frontiers: list[tuple[int, int, int]] = []  # (execution number, worker, frontier)
    for store in stores:
        with closing(sqlite3.connect(store)) as db:
            executions += db.execute("SELECT ex_num, worker_count, resume_epoch FROM exs").fetchall()
            frontiers += db.execute("SELECT ex_num, worker_index, worker_frontier FROM fronts").fetchall()
    resume = resume_epoch(executions, frontiers)
    for store in stores:
        with closing(sqlite3.connect(store)) as db, db:
            db.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (resume,))


def resume_epoch(executions: list[tuple[int, int, int]], frontiers: list[tuple[int, int, int]]) -> int:
    """The epoch that the next execution begins with (bytewax v0.21.1, src/recovery.rs, `resume_from`).

    The latest execution's slowest worker decides; one that never finished an epoch is where the execution began.
    `executions` are (number, workers, resume epoch), `frontiers` (execution, worker, frontier), of all partitions.
    """
    if not executions:
        return 1
    latest, workers, began = max(executions)
    reached = dict.fromkeys(range(workers), began)
    for execution, worker, frontier in frontiers:
        if execution == latest:
            reached[worker] = max(reached.get(worker, frontier), frontier)
    return min(reached.values())
