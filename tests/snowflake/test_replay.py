"""`headrace replay` into Snowflake: each event once, whatever the table has and whenever it is killed. Against fakesnow."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import HEADRACE, environment
from tests.flows.pipelines import STREAM, append, until, write_config
from tests.replay.replays import MINUTE, NOON, events, live, log_of, receive, replay
from tests.services.front import Answer, Asked, Forward, passing
from tests.snowflake.conftest import Account


def configured(account: Account, directory: Path, **stream: Any) -> Path:
    """A log of twelve partitions, a table in Snowflake that commits often, and a lake that the stream goes to unless told."""
    dw = account.destination(commit_rows=100)
    lake = {"type": "delta", "uri": str(directory / "lake" / "{stream}")}
    text = {
        "log": {"embedded": {"partitions": 12}},
        "destinations": {"dw": dw, "lake": lake},
        "streams": {"pay": {"id": STREAM, **stream}},
    }
    return write_config(directory, text)


def routed(account: Account, directory: Path, **stream: Any) -> Path:
    return configured(account, directory, routes=[{"to": ["dw"]}], **stream)


def fill(config: Path, requests: int = 48) -> list[str]:
    log = log_of(config)
    sent = [one for number in range(requests) for one in append(log, events(number * 50, 50))]
    log.close()
    return sent


def test_the_table_gets_what_it_lacks_and_nothing_twice(account: Account, tmp_path: Path) -> None:
    path = routed(account, tmp_path, steps=[{"filter": "event.n < 10"}])
    log = log_of(path)
    sent = append(log, events(0, 10))
    for _ in range(2):
        one = append(log, events(10, 10), key="k")
    sent += one
    live(path)
    assert account.ids("pay") == sorted(sent[:10])
    routed(account, tmp_path)  # the filter is gone
    sent += append(log, events(20, 10))
    done = replay(path, "dw")
    assert (done.written, done.already_there, done.repeated, done.left) == (10, 10, 10, 1)
    live(path)
    assert Counter(account.ids("pay")) == Counter(sent)
    assert replay(path, "dw", "offset:0").written == 0
    assert Counter(account.ids("pay")) == Counter(sent)
    log.close()


def test_a_table_that_no_route_names_gets_what_was_received_between_and_then_the_rest(
    account: Account, tmp_path: Path
) -> None:
    path = configured(account, tmp_path)
    log = log_of(path)
    sent = [receive(log, events(minute, 1), NOON + minute * MINUTE)[0] for minute in range(10)]
    done = replay(path, "dw", "2026-02-12T12:03:00Z", "2026-02-12T12:08:00Z")
    assert (done.finished, done.written) == (True, 5)
    assert account.ids("pay") == sorted(sent[3:8])
    assert replay(path, "dw").written == 5
    assert Counter(account.ids("pay")) == Counter(sent)
    account.query("DROP TABLE pay")
    assert replay(path, "dw").written == 10, "the table is gone, so the same replay begins anew"
    log.close()


def test_closed_windows_of_a_rollup_are_there_once(account: Account, tmp_path: Path) -> None:
    rollup = {"name": "per_minute", "every": "1m", "aggregate": {"events": "count(*)"}, "to": ["dw"]}
    path = routed(account, tmp_path, rollups=[rollup])
    log = log_of(path)
    for minute in range(5):
        stamped = {"source": "a", "timestamp": f"2026-02-12T12:0{minute}:30Z", "event": {"n": minute}}
        receive(log, [stamped], NOON + minute * MINUTE)
    live(path)
    before = Counter(account.ids("pay_per_minute"))
    assert before
    account.query("DELETE FROM pay_per_minute WHERE window_start <= '2026-02-12 12:01:00'::timestamp_tz")
    assert Counter(account.ids("pay_per_minute")) != before
    done = replay(path, "dw", "offset:0")
    assert (done.written, done.rollup_rows) == (0, 2)
    assert Counter(account.ids("pay_per_minute")) == before
    log.close()


class Ended:
    """Ends a replay by `number` at its second statement that begins with `word`, before it is passed on or after."""

    def __init__(self, account: Account, word: str, number: signal.Signals, *, after: bool) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._word = word
        self._number = number
        self._after = after
        self._seen = 0
        account.front.fault = self

    def __call__(self, asked: Asked, forward: Forward) -> Answer | None:
        self._seen += asked.sql.startswith(self._word)
        if not asked.sql.startswith(self._word) or self._seen != 2:
            return forward()
        done = forward() if self._after else None
        until(lambda: self.process, what="the process")
        assert self.process is not None
        self.process.send_signal(self._number)
        if self._number == signal.SIGKILL:
            self.process.wait(30)
            return None
        return done or forward()


@pytest.mark.timeout(600)
def test_killed_and_interrupted_and_run_again_each_event_is_there_once(account: Account, tmp_path: Path) -> None:
    """Some of them were there before, by the dataflow, and others have come since."""
    path = routed(account, tmp_path, steps=[{"filter": "event.n % 3 = 0"}])
    sent = fill(path)
    live(path)
    routed(account, tmp_path)
    command = [*HEADRACE, "replay", "pay", "--config", str(path), "--into", "dw"]
    errors = (tmp_path / "replay.log").open("ab")
    for word, after in [("PUT", False), ("UPDATE", True), ("COMMIT", True)]:
        end = Ended(account, word, signal.SIGKILL, after=after)
        end.process = subprocess.Popen(command, env=environment(), stdout=errors, stderr=errors)
        assert end.process.wait(120) == -signal.SIGKILL, word
    found = Counter(account.ids("pay"))
    assert set(found.values()) == {1}
    assert len(sent) // 3 < len(found) < len(sent), "the moments were not in its midst"
    end = Ended(account, "UPDATE", signal.SIGINT, after=True)
    end.process = subprocess.Popen(command, env=environment(), stdout=errors, stderr=errors)
    assert end.process.wait(120) == 130
    account.front.fault = passing
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    sent += fill(path, 2)
    live(path)
    assert Counter(account.ids("pay")) == Counter(sent)
    errors.close()
