"""`headrace replay --rebuild`: the table built anew beside the live one, and swapped in one commit."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from connectors.errors import HeadraceError
from connectors.record import format_instant, now_microseconds
from flows.config import load
from flows.replay import swap
from tests.flows.pipelines import STREAM, Feeder, Worker, append, event_ids, rows, until, write_config
from tests.flows.test_kills import lake_in
from tests.replay.replays import MINUTE, NOON, live, log_of, receive, replay


def lake(directory: Path, stream: dict[str, Any] | None = None, **more: Any) -> Path:
    settings = {"type": "delta", "uri": str(directory / "lake" / "{stream}"), "commit_interval": "100ms"}
    return write_config(
        directory, {"destinations": {"lake": settings}, "streams": {"pay": {"id": STREAM} | (stream or {})}} | more
    )


def amounts(first: int, count: int) -> list[dict[str, Any]]:
    return [
        {"source": "a", "event": {"n": n, "amount": f"{n}.50", "card": "4111"}} for n in range(first, first + count)
    ]


FIXED = {
    "types": {"event.amount": "DECIMAL(9,2)"},
    "steps": [{"set": {"event.amount": "event.amount::DECIMAL(9,2)"}}, {"drop": ["event.card"]}],
}


def test_the_table_is_what_the_present_configuration_makes_of_the_log(tmp_path: Path) -> None:
    config = lake(tmp_path, {"steps": [{"filter": "event.n <> 7"}]})
    log = log_of(config)
    append(log, amounts(0, 10))
    live(config)
    before = DeltaTable(str(tmp_path / "lake" / "pay")).version()
    lake(tmp_path, FIXED)
    append(log, amounts(10, 10))
    live(config)
    done = replay(config, "lake", rebuild=True)
    assert done.finished
    table = DeltaTable(str(tmp_path / "lake" / "pay"))
    event = next(field for field in table.schema().fields if field.name == "event").type.fields
    assert [(field.name, str(field.type)) for field in event] == [
        ("n", 'PrimitiveType("long")'),
        ("amount", 'PrimitiveType("decimal(9,2)")'),
    ]
    assert sorted(rows(load(config), "event.n, event.amount::VARCHAR")) == [(n, f"{n}.50") for n in range(20)]
    assert set(Counter(event_ids(load(config))).values()) == {1}
    append(log, amounts(20, 5))
    live(config)
    assert len(rows(load(config))) == 25
    old = DeltaTable(str(tmp_path / "lake" / "pay"), version=before)
    assert sum(old.get_add_actions(flatten=True)["num_records"].to_pylist()) == 9, "who reads an old version still can"
    again = replay(config, "lake", rebuild=True)  # once more is as good
    assert again.finished
    assert sorted(n for (n,) in rows(load(config), "event.n")) == list(range(25))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("where", ["local", "s3"])
def test_beside_a_dataflow_that_works_nothing_is_lost_or_doubled(
    where: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: Any
) -> None:
    if where == "s3":
        monkeypatch.setenv("TEST_S3_SECRET", request.getfixturevalue("s3").secret_key)
    settings = {"destinations": {"lake": lake_in(where, tmp_path, request) | {"commit_interval": "1s"}}}
    config = write_config(tmp_path, settings | {"streams": {"pay": {"id": STREAM}}})
    log = log_of(config)
    acknowledged = [event for n in range(0, 2_000, 20) for event in append(log, amounts(n, 20))]
    live(config)
    write_config(tmp_path, settings | {"streams": {"pay": {"id": STREAM} | FIXED}})
    worker = Worker(config, 0, 1)
    feeder = Feeder(log, random.randrange(10**6), pause=0.05)
    try:
        worker.wait_for("ready")
        done = replay(config, "lake", rebuild=True)
        reached = len(feeder.acknowledged)
        until(lambda: len(feeder.acknowledged) > reached + 100, what="more events")
        assert worker.alive, "the dataflow was fenced"
    finally:
        acknowledged += feeder.stop()
        worker.kill()
    assert done.finished
    live(config)
    landed = Counter(event_ids(load(config)))
    assert not [event for event in acknowledged if event not in landed], "lost"
    assert not [event for event, times in landed.items() if times > 1], "doubled"
    assert len(landed) == len(acknowledged)
    types = {
        type(row[0]).__name__ for row in rows(load(config), "event['amount']", where="event['amount'] IS NOT NULL")
    }
    assert types == {"Decimal"}


@pytest.mark.parametrize("moment", ["before the swap", "after the swap"])
def test_ended_in_the_middle_the_live_table_is_whole_and_the_same_command_goes_on(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = lake(tmp_path, {"steps": [{"filter": "event.n < 5"}]})
    log = log_of(config)
    append(log, amounts(0, 10))
    live(config)
    lake(tmp_path)
    whole = swap.NewTable.swap

    def dying(self: swap.NewTable, *arguments: Any) -> bool:
        if moment == "after the swap":
            whole(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(swap.NewTable, "swap", dying)
    with pytest.raises(KeyboardInterrupt):
        replay(config, "lake", rebuild=True)
    monkeypatch.undo()
    assert len(rows(load(config))) == (5 if moment == "before the swap" else 10)
    append(log, amounts(10, 5))
    live(config)
    done = replay(config, "lake", rebuild=True)
    assert done.finished
    assert sorted(n for (n,) in rows(load(config), "event.n")) == list(range(5 if moment == "x" else 0, 15))
    assert done.written == (5 if moment == "before the swap" else 0)
    assert not list((tmp_path / "lake" / "pay").glob("rebuild-*/_delta_log"))


def dying(*_: Any) -> bool:
    raise KeyboardInterrupt


def test_rows_that_the_log_has_no_more_are_lost_only_if_that_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_log = {"log": {"embedded": {"path": str(tmp_path / "log"), "partitions": 1, "retention_hours": 1}}}
    config = lake(tmp_path, **kept_log)
    log: Any = log_of(config)
    for place, n in enumerate([0, 1, 2, 2, 4, 5]):  # 2 is sent twice under its key, and once it is left
        events = [{"source": "a", "event": {"n": n, "note": {} if n else "text"}}]
        receive(log, events, NOON + place * 20 * MINUTE, key="k" if n == 2 else None)
    live(config)
    assert log.retain(now=NOON + 3 * 20 * MINUTE + 60 * MINUTE) == 3
    lake(tmp_path, {"steps": [{"filter": "event.n <> 4"}]}, **kept_log)
    before = event_ids(load(config))
    with pytest.raises(HeadraceError, match=r"2 events of the table, received 2026-02-12T12:00:00Z to .*12:20:00Z"):
        replay(config, "lake", rebuild=True)
    assert event_ids(load(config)) == before
    with monkeypatch.context() as patch:
        patch.setattr(swap.NewTable, "swap", dying)
        with pytest.raises(KeyboardInterrupt):
            replay(config, "lake", rebuild=True, older="keep")
    assert event_ids(load(config)) == before
    done = replay(config, "lake", rebuild=True, older="keep")
    assert done.older == 2
    assert sorted(n for (n,) in rows(load(config), "event.n")) == [0, 1, 2, 5]
    assert [
        text
        for text in rows(load(config), "to_json(event)::VARCHAR || coalesce(_rescued, '')", where="event.n = 0")
        if "text" in text[0]
    ]
    assert set(Counter(event_ids(load(config))).values()) == {1}
    replay(config, "lake", rebuild=True, older="drop")
    assert sorted(n for (n,) in rows(load(config), "event.n")) == [2, 5]


def test_what_cannot_be_swapped_is_refused(tmp_path: Path) -> None:
    more = {"files": {"type": "parquet", "uri": "files/{stream}"}, "copy": {"type": "delta", "uri": "copy/{stream}"}}
    config = lake(tmp_path)
    settings = {"lake": {"type": "delta", "uri": "lake/{stream}"}} | more
    routes = [{"to": ["lake", "files"]}]
    write_config(tmp_path, {"destinations": settings, "streams": {"pay": {"id": STREAM, "routes": routes}}})
    append(log_of(config), amounts(0, 1))
    for into, told in (("files", "is no Delta table"), ("copy", "no route of 'pay'"), ("lake", "has no table")):
        with pytest.raises(HeadraceError, match=told):
            replay(config, into, rebuild=True)


def test_a_stream_with_a_memory_is_rebuilt_while_its_dataflow_is_stopped(tmp_path: Path) -> None:
    """Events that its lane holds come to the new table when the dataflow starts again."""
    window = {
        "window": {"name": "w", "key": "source", "length": "2m", "lateness": "1m", "aggregate": {"seen": "count(*)"}}
    }
    config = lake(tmp_path, {"steps": [window]})
    log = log_of(config)
    now = now_microseconds()
    for n in range(3):
        receive(
            log, [{"source": "a", "timestamp": format_instant(now - MINUTE * (90 - n)), "event": {"n": n}}], now - 9 + n
        )
    live(config)
    lake(tmp_path, {"steps": [window, {"set": {"event.twice": "event.n * 2"}}]})
    for n in range(3, 6):
        receive(log, [{"source": "a", "timestamp": format_instant(now + n), "event": {"n": n}}], now + n)
    live(config, stop_at_once=True)
    assert len(rows(load(config))) < 6, "nothing was held"
    running = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import fcntl, sys; f = open({str(tmp_path / 'data/state/0.lock')!r}, 'w');"
            " fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert running.stdout is not None
    assert running.stdout.readline()
    with pytest.raises(HeadraceError, match="has steps with a memory"):
        replay(config, "lake", rebuild=True)
    running.communicate()
    done = replay(config, "lake", rebuild=True)
    assert done.finished
    live(config)
    found = sorted(rows(load(config), "event.n, event.twice, event.w.seen"))
    assert found == [(0, 0, 1), (1, 2, 2), (2, 4, 3), (3, 6, 1), (4, 8, 2), (5, 10, 3)]
