"""The destination `snowflake` from the YAML on: kills, outages, nonsense, and what a person is told. Against fakesnow."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import ConfigError, Transient
from connectors.sinks.snowflake.session import Session
from flows.config import check
from flows.destinations import open_writers
from tests.dlq.letters import letters, replayed
from tests.flows.pipelines import (
    STREAM,
    Feeder,
    Worker,
    append,
    drain,
    event_ids,
    landed_so_far,
    opened,
    until,
    write_config,
)
from tests.services.front import Answer, Asked, Forward, passing, told
from tests.snowflake.conftest import Account

KILLS = int(os.environ.get("HEADRACE_KILLS", "5"))


def configured(account: Account, directory: Path, *, lake: bool = False, **stream: Any) -> Path:
    destinations = {"dw": account.destination()}
    if lake:
        destinations["lake"] = {
            "type": "delta",
            "uri": str(directory / "lake" / "{stream}"),
            "commit_interval": "200ms",
        }
    to = {"routes": [{"to": ["dw", "lake"] if lake else ["dw"]}]}
    return write_config(directory, {"destinations": destinations, "streams": {"pay": {"id": STREAM, **to, **stream}}})


def landed(account: Account, table: str = "pay") -> list[str]:
    """The event ids in the table; none while there is no table."""
    try:
        return account.ids(table)
    except Exception:  # noqa: BLE001 -- no table yet: nothing to see
        return []


def test_events_and_rollups_land_under_the_names_of_their_streams(account: Account, tmp_path: Path) -> None:
    rollup = {
        "name": "per_minute",
        "every": "1m",
        "by": ["source", "event.kind"],
        "aggregate": {"events": "count(*)", "total": "sum(event.n)", "Latest": "last(event.n)"},
        "to": ["dw"],
    }
    path = configured(account, tmp_path, rollups=[rollup])
    _, log = opened(path)
    first = [{"source": "a", "timestamp": f"2025-02-12T14:0{n}:30Z", "event": {"kind": "x", "n": n}} for n in range(4)]
    ids = append(log, first)
    drain(path)
    halves = [
        {"source": "a", "timestamp": f"2025-02-12T15:0{n}:30Z", "event": {"kind": 7, "n": n + 0.5}} for n in range(3)
    ]
    ids += append(log, halves)
    drain(path)
    log.close()
    assert account.ids("pay") == sorted(ids)
    rows = account.query("SELECT window_start::varchar, source, kind, events, latest FROM pay_per_minute ORDER BY 1")
    assert {row[0][:16] for row in rows[:3]} <= {"2025-02-12 14:00", "2025-02-12 14:01", "2025-02-12 14:02"}
    assert rows[0][1:] == ("a", "x", 1, 0)
    odd = account.query("SELECT kind, total, _rescued FROM pay_per_minute WHERE window_start >= '2025-02-12 15:00:00'")
    assert odd
    for kind, total, rescued in odd:
        lost = json.loads(rescued or "{}")
        assert (kind, lost.get("kind")) in ((None, 7), ("7", None)), "a number in a column of texts"
        assert total is not None or "total" in lost, "a fraction in a column of whole numbers"


def test_a_strict_schema_sets_aside_what_has_no_column_until_it_may_be_rescued(
    account: Account, tmp_path: Path
) -> None:
    path = configured(account, tmp_path, schema="reject")
    _, log = opened(path)
    ids = append(log, [{"source": "a", "event": {"n": [1]}}, {"source": "a", "event": {}, "other": 5}])
    drain(path)
    assert account.ids("pay") == ids[:1]
    [letter] = letters(tmp_path / "data")
    assert (letter["event_id"], letter["stage"], letter["destination"]) == (ids[1], "schema", "dw")
    configured(account, tmp_path, schema="rescue")
    assert replayed(path)["replayed"] == 1
    drain(path)
    assert account.query("SELECT event_id, _rescued FROM pay ORDER BY 1") == [(ids[0], None), (ids[1], '{"other":5}')]
    log.close()


@pytest.mark.timeout(600)
def test_killed_at_random_moments_under_load_no_event_is_lost_or_doubled(account: Account, tmp_path: Path) -> None:
    path = configured(account, tmp_path)
    _, log = opened(path)
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    feeder = Feeder(log, seed, pause=0.05)
    worker = Worker(path, 0, 1)
    commits = 0
    try:
        for kill in range(KILLS):
            had = account.front.statements().count("COMMIT")
            if kill % 2:  # in the middle of a load, or somewhere
                word = dice.choice(["PUT", "COPY", "UPDATE", "COMMIT"])
                seen = account.front.statements().count(word)
                until(lambda: account.front.statements().count(word) > seen + 1, 120, what=word)  # noqa: B023
            else:
                until(lambda: account.front.statements().count("COMMIT") > had, 120, what="a commit")  # noqa: B023
                time.sleep(dice.uniform(0, 1.0))
            commits += account.front.statements().count("COMMIT") - had
            worker.kill()
            worker = Worker(path, 0, 1)
    finally:
        worker.kill()
        acknowledged = feeder.stop()
    drain(path)
    log.close()
    found = Counter(account.ids("pay"))
    assert commits >= KILLS // 2  # the other kills wait for a statement, which may be of one commit
    assert feeder.repeats >= 0
    assert not [event for event in acknowledged if event not in found], "lost"
    assert not [event for event, times in found.items() if times > 1], "doubled"
    assert len(found) == len(acknowledged)


@pytest.mark.timeout(600)
def test_an_outage_delays_snowflake_alone_and_loses_nothing(account: Account, tmp_path: Path) -> None:
    """Down at the start, back, gone again in the middle, answering nonsense, back."""
    path = configured(account, tmp_path, lake=True)
    config, log = opened(path)
    account.front.stop()
    ids = append(log, [{"source": "a", "event": {"n": 1}}])
    worker = Worker(path, 0, 1)
    try:
        until(lambda: landed_so_far(config) == ids, 120, what="the lake without Snowflake")
        account.front.start()
        until(lambda: landed(account) == ids, 120, what="Snowflake, once it is there")
        account.front.fault = lambda asked, forward: None if asked.sql.startswith("COPY") else forward()
        ids += append(log, [{"source": "a", "event": {"n": 2}}])
        until(lambda: len(landed_so_far(config)) == 2, 120, what="the lake, Snowflake cutting connections")
        account.front.fault = lambda _asked, _forward: (200, b"<html>Service is being upgraded</html>")
        ids += append(log, [{"source": "a", "event": {"n": 3}}])
        until(lambda: len(landed_so_far(config)) == 3, 120, what="the lake, Snowflake answering nonsense")
        account.front.fault = passing
        until(lambda: landed(account) == sorted(ids), 180, what="Snowflake, once it is well")
        assert worker.alive
    finally:
        worker.kill()
    assert sorted(event_ids(config)) == sorted(ids)
    log.close()


def test_wrong_credentials_are_told_and_not_tried_at_once_again(account: Account) -> None:
    account.front.fault = lambda asked, forward: told("390100", "Incorrect username or password was specified.")
    with pytest.raises(ConfigError, match="Incorrect username or password") as refused:
        Session(account.settings())
    assert "see user" in str(refused.value)
    with pytest.raises(Transient) as failed:
        account.dataflow().take([{"source": "a", "event": {}}])
    assert (failed.value.retry_after or 0) >= 300


def test_a_missing_object_is_named_and_what_to_look_at(account: Account) -> None:
    def missing(asked: Asked, forward: Forward) -> Answer | None:
        if asked.sql.startswith("CREATE TEMPORARY STAGE"):
            return told("002003", f"Database '{account.database}' does not exist or not authorized.")
        return forward()

    account.front.fault = missing
    with pytest.raises(ConfigError, match=r"does not exist or not authorized.*grants"):
        Session(account.settings())


def test_a_key_pair_signs_in_with_a_token_of_its_own(account: Account, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    file = tmp_path / "headrace.p8"
    locked = pem.BestAvailableEncryption(b"open sesame")
    file.write_bytes(key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, locked))
    given = {"password": None, "private_key_file": file}
    Session(account.settings(**given, private_key_passphrase="open sesame")).close()
    [asked] = [asked for asked in account.front.asked if "login" in asked.path]
    assert asked.json["data"]["AUTHENTICATOR"] == "SNOWFLAKE_JWT"
    assert asked.json["data"]["TOKEN"].count(".") == 2
    assert "PASSWORD" not in asked.json["data"]
    with pytest.raises(ConfigError, match="private_key_file"):
        Session(account.settings(**given, private_key_passphrase="wrong"))


def test_without_the_connector_the_remedy_is_named_before_anything_runs(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    config, log = opened(configured(account, tmp_path))
    monkeypatch.setitem(sys.modules, "snowflake.connector", None)
    with pytest.raises(ConfigError, match=r"pip install 'headrace\[snowflake\]'"):
        open_writers(config, log)
    log.close()


@pytest.mark.parametrize(
    ("changed", "told_of"),
    [
        ({"password": None}, "sign in with"),
        ({"private_key_file": "k.p8"}, "there is a password too"),
        ({"user": None}, "user: missing"),
        ({"authenticator": "externalbrowser"}, "asks a person"),
        ({"password": None, "token": "${TEST_SNOWFLAKE_PASSWORD}"}, "authenticator: missing"),
        ({"private_key_passphrase": "${TEST_SNOWFLAKE_PASSWORD}"}, "no private_key_file to go with it"),
        ({"database": "my db"}, "double quotes"),
        ({"table": "{event.kind}"}, "only {stream}"),
        ({"table": "a.b"}, "double quotes"),
        ({"table": 'x"; DROP TABLE y; --'}, "double quotes"),
        ({"table": "events"}, "put {stream} into the table"),
        ({"port": 0}, "too small"),
    ],
)
def test_a_problem_is_told_with_its_remedy(
    account: Account, tmp_path: Path, changed: dict[str, Any], told_of: str
) -> None:
    given = {name: value for name, value in account.destination(**changed).items() if value is not None}
    other = "22222222-2222-4333-8444-555555555555"
    streams = {"pay": {"id": STREAM, "routes": [{"to": ["dw"]}]}, "web": {"id": other, "routes": [{"to": ["dw"]}]}}
    problems = check(write_config(tmp_path, {"destinations": {"dw": given}, "streams": streams}))
    assert any(told_of in str(problem) for problem in problems), problems


def test_two_streams_whose_names_become_one_table_are_told(account: Account, tmp_path: Path) -> None:
    other = "22222222-2222-4333-8444-555555555555"
    streams = {"a-b": {"id": STREAM, "routes": [{"to": ["dw"]}]}, "a_b": {"id": other, "routes": [{"to": ["dw"]}]}}
    problems = check(write_config(tmp_path, {"destinations": {"dw": account.destination()}, "streams": streams}))
    assert any("too" in str(problem) and "dw.table" in str(problem) for problem in problems)


def test_a_quoted_name_stays_as_it_is_and_no_name_leaves_its_quotes(account: Account) -> None:
    table = '"Raw ""x"".{stream}; DROP"'
    sent = account.dataflow(table=table).take([{"source": "a", "event": {}}])
    [[found]] = account.query('SELECT event_id FROM "Raw ""x"".payments; DROP"')
    assert [found] == sent
