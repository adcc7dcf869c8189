"""The store of a stream with a memory: a round is there whole or not at all."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from connectors.errors import HeadraceError
from connectors.sinks.base import Rows
from flows.stateful.operator import Changes
from flows.stateful.store import Store

PIECE = pa.table({"key": ["a"], "n": [1]})


def rows(number: int) -> list[Rows]:
    return [Rows("pay", pa.table({"event_id": [f"{number}"], "_offset": [number]}))]


def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "a" / "pay.db", {0: 7})
    assert (store.positions, store.first_round()) == ({0: 7}, 1)
    assert (
        store.commit({0: 9, 1: 2}, {"w": b"{}"}, {"w": Changes({"p": PIECE})}, {"lake": rows(1), "siem": rows(1)}) == 1
    )
    assert store.commit({0: 10}, {}, {"w": Changes({"q": PIECE}, ["p"])}, {}) == 2
    store.close()
    again = Store(tmp_path / "a" / "pay.db", {0: 99})
    assert again.lane == store.lane
    assert again.positions == {0: 10, 1: 2}
    assert again.pieces("w") == {"q": PIECE}
    assert again.steps() == {"w": b"{}"}
    assert again.round == 2
    assert [(n, list(held)) for n, held in again.rounds(1)] == [(1, ["lake", "siem"])]
    assert [(n, held["siem"][0].table.to_pylist()) for n, held in again.rounds(0, "siem")] == [
        (1, [{"event_id": "1", "_offset": 1}])
    ]


def test_a_round_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "pay.db")
    with pytest.raises(AttributeError):
        store.commit({0: 9}, {}, {"w": Changes({"p": PIECE})}, {"lake": [Rows("pay", None)]})  # type: ignore[arg-type]
    assert (store.positions, store.pieces("w"), store.round) == ({}, {}, 0)
    assert store.commit({0: 1}, {}, {}, {"lake": rows(1)}) == 1


def test_what_every_destination_has_is_forgotten_and_rounds_never_come_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "pay.db")
    for number in range(1, 4):
        store.commit({0: number}, {}, {}, {"lake": rows(number)})
    store.save_floors({"lake": 3, "siem": 4})
    assert store.first_round() == 3
    store.save_floors({"lake": 4, "siem": 4})
    store.close()
    again = Store(tmp_path / "pay.db")
    assert again.first_round() == 4
    assert again.floors == {"lake": 4, "siem": 4}
    assert again.commit({0: 9}, {}, {}, {"lake": rows(4)}) == 4


def test_a_step_that_is_gone_takes_its_state_along(tmp_path: Path) -> None:
    store = Store(tmp_path / "pay.db")
    store.commit({}, {"w": b"1", "x": b"2"}, {"w": Changes({"p": PIECE}), "x": Changes({"p": PIECE})}, {})
    store.commit({}, {}, {}, {}, gone=["w"])
    assert (store.steps(), store.pieces("w"), store.pieces("x")) == ({"x": b"2"}, {}, {"p": PIECE})


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "pay.db").write_bytes(b"not SQLite" * 1000)
    with pytest.raises(HeadraceError, match=r"pay\.db cannot be read"):
        Store(tmp_path / "pay.db")


def _open_all(directory: Path, count: int, together: Any, failures: Any) -> None:
    for number in range(count):
        together.wait(60)
        try:
            Store(directory / f"{number}.db", {0: 1}).close()
        except HeadraceError as exc:
            failures.put(str(exc))


def test_processes_that_make_it_at_the_same_moment_wait_for_each_other(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    together, failures = spawn.Barrier(3), spawn.Queue()
    arguments = (tmp_path, 150, together, failures)
    processes = [spawn.Process(target=_open_all, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(90)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert failures.empty()
