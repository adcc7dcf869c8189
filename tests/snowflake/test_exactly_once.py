"""Tables in Snowflake: each event once, whatever fails between the staging of its row and the commit. Against fakesnow."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from connectors.errors import Fenced, Transient
from tests.services.front import Answer, Asked, Forward, passing, told
from tests.sinks.tables import Dataflow
from tests.snowflake.conftest import Account


def event(**fields: Any) -> dict[str, Any]:
    return {"source": "s", "event": fields}


def once(word: str, fault: Callable[[Forward], Answer | None], account: Account) -> None:
    """Has `fault` answer the first statement that begins with `word`, and every other pass."""
    left = [word]

    def answer(asked: Asked, forward: Forward) -> Answer | None:
        if left and asked.sql.startswith(left[0]):
            left.clear()
            return fault(forward)
        return forward()

    account.front.fault = answer


def after_lost_answer(word: str, account: Account) -> None:
    """Has the first statement that begins with `word` done but not acknowledged, and nothing done from then on."""
    state = {"gone": False}

    def answer(asked: Asked, forward: Forward) -> Answer | None:
        if not state["gone"]:
            state["gone"] = asked.sql.startswith(word)
            done = forward()
            if not state["gone"]:
                return done
        return told("000604", "SQL execution canceled")

    account.front.fault = answer


def test_a_row_lands_in_typed_columns_and_its_event_as_a_variant(account: Account) -> None:
    events = [
        {
            "source": "a",
            "timestamp": "2025-02-12T14:32:15.5+02:00",
            "event": {"n": 1, "deep": {"list": [1, None, "x"]}},
        },
        {"source": "b", "timestamp": "0001-01-01T00:00:00Z", "event": {"n": "one", "big": 12345678901234567890}},
        {"source": "c", "event": {}, "metadata": {"it's": '"quoted"'}, "other": 5},
    ]
    sent = account.dataflow().take(events)
    rows = account.query(
        "SELECT event_id, to_char(timestamp::timestamp_ntz, 'YYYY-MM-DD HH24:MI:SS'), source, event, metadata,"
        " _sample_rate, _late, _rescued, date::varchar FROM payments ORDER BY event_id"
    )
    assert [row[0] for row in rows] == sent
    assert [row[1] for row in rows] == ["2025-02-12 12:32:15", "0001-01-01 00:00:00", "2025-02-12 14:32:15"]
    assert [json.loads(row[3]) for row in rows] == [events[0]["event"], events[1]["event"], {}]
    assert [row[4] and json.loads(row[4]) for row in rows] == [None, None, {"it's": '"quoted"'}]
    assert [row[5:8] for row in rows] == [(1.0, False, None), (1.0, False, None), (1.0, False, '{"other":5}')]
    assert [row[8] for row in rows] == ["2025-02-12", "0001-01-01", "2025-02-12"]


def test_a_restart_skips_what_the_table_has(account: Account) -> None:
    account.dataflow().take([event(a=1), event(a=2)], offset=0)
    restarted = account.dataflow()
    sent = restarted.stage([event(a=1), event(a=2)], offset=0) + restarted.stage([event(a=3)], offset=1)
    restarted.commit()
    assert account.ids() == sent


def test_another_log_s_offsets_mean_nothing(account: Account) -> None:
    account.dataflow(log="log-1").take([event(a=1)], offset=7)
    account.dataflow(log="log-2").take([event(a=2)], offset=0)
    assert len(account.ids()) == 2


def test_partitions_are_loaded_together_each_with_its_offset(account: Account) -> None:
    dataflow = account.dataflow()
    sent = [one for p in range(4) for one in dataflow.stage([event(a=p)], partition=p, offset=10 + p)]
    account.front.asked.clear()
    dataflow.commit()
    assert account.front.statements() == ["MERGE", "PUT", "PUT", "BEGIN", "COPY", "UPDATE", "COMMIT", "SELECT"]
    assert account.ids() == sorted(sent)
    found = account.query("SELECT partition, next_offset FROM headrace_offsets ORDER BY partition")
    assert found == [(0, 11), (1, 12), (2, 13), (3, 14)]


def test_the_second_of_two_writers_of_a_partition_is_fenced_and_leaves_nothing(account: Account) -> None:
    first, second = account.dataflow(), account.dataflow()
    sent = first.take([event(a=0)], offset=0)
    second.stage([event(a=1)], offset=1)
    sent += first.take([event(a=1)], offset=1)
    with pytest.raises(Fenced, match="another dataflow"):
        second.commit()
    assert account.ids() == sent


def test_a_commit_that_happened_but_was_not_acknowledged_is_not_repeated(account: Account) -> None:
    dataflow = account.dataflow()
    first = dataflow.take([event(a=0)], offset=0)
    after_lost_answer("COMMIT", account)
    second = dataflow.stage([event(a=1)], offset=1)
    with pytest.raises(Transient):
        dataflow.commit()
    account.front.fault = passing
    dataflow.writer.reset()
    dataflow.take([event(a=1)], offset=1)
    assert account.ids() == first + second


@pytest.mark.parametrize("word", ["PUT", "COPY", "UPDATE"])
def test_a_load_that_broke_off_leaves_nothing_and_comes_again(account: Account, word: str) -> None:
    dataflow = account.dataflow()
    first = dataflow.take([event(a=0)], offset=0)
    after_lost_answer(word, account)
    dataflow.stage([event(a=1)], offset=1)
    with pytest.raises(Transient):
        dataflow.commit()
    account.front.fault = passing
    dataflow.writer.reset()
    assert account.ids() == first
    assert account.ids() + dataflow.take([event(a=1)], offset=1) == account.ids()


def test_a_commit_that_is_acknowledged_and_did_not_happen_is_noticed(account: Account) -> None:
    """As where a session was lost and COMMIT met nothing to commit: the offsets are read back and tell."""
    dataflow = account.dataflow()
    first = dataflow.take([event(a=0)], offset=0)
    once("COMMIT", lambda forward: forward("ROLLBACK"), account)
    dataflow.stage([event(a=1)], offset=1)
    with pytest.raises(Transient, match="did not commit"):
        dataflow.commit()
    dataflow.writer.reset()
    assert account.ids() == first
    assert first + dataflow.take([event(a=1)], offset=1) == account.ids()


def test_a_load_of_less_than_all_rows_is_not_committed(account: Account) -> None:
    """As where a staged file is gone by the time it is loaded: Snowflake says so in the result of a success."""
    dataflow = account.dataflow()
    once("COPY", lambda forward: [forward(), forward()][1], account)
    dataflow.stage([event(a=1), event(a=2)], offset=0)
    with pytest.raises(Transient, match="did not load all"):
        dataflow.commit()
    dataflow.writer.reset()
    assert dataflow.take([event(a=1), event(a=2)], offset=0) == account.ids()


def test_a_refused_row_is_a_dead_letter_once_and_the_others_land(account: Account) -> None:
    account.query("CREATE TABLE payments (event_id varchar, timestamp timestamp_tz, received_at timestamp_tz,"
                  " source number(10,0), event variant, metadata variant, _sample_rate float, _late boolean,"
                  " _rescued varchar, date date, loaded_by varchar default 'headrace')")  # fmt: skip
    batch = [{"source": str(n), "event": {"n": n}} for n in range(9)]
    batch[2]["source"], batch[7]["source"] = "two", "seven"
    crashing = account.dataflow()
    crashing.stage(batch, offset=3)
    crashing.stage([{"source": "nine", "event": {"n": 9}}], partition=1, offset=0)
    after_lost_answer("UPDATE", account)
    with pytest.raises(Transient):
        crashing.commit()
    account.front.fault = passing
    crashing.writer.reset()
    restarted = account.dataflow()
    sent = restarted.stage(batch, offset=3)
    more = restarted.stage([{"source": "nine", "event": {"n": 9}}], partition=1, offset=0)
    restarted.commit()
    assert account.ids() == [one for n, one in enumerate(sent) if n not in (2, 7)]
    letters = sorted(account.dead(), key=lambda one: one["event_id"])
    assert [one["event_id"] for one in letters] == [sent[2], sent[7], *more]
    assert {(one["stage"], one["destination"], one["stream"]) for one in letters} == {("destination", "dw", "payments")}
    assert [json.loads(one["payload"])["source"] for one in letters] == ["two", "seven", "nine"]
    assert "two" in letters[0]["error"]
    assert restarted.writer.floor(0) == 4


def test_what_a_strict_schema_has_no_column_for_is_a_dead_letter_once_beside_what_snowflake_refuses(
    account: Account,
) -> None:
    """Any `event` fits into its VARIANT; a field beside it has no column."""
    account.query("CREATE TABLE payments (event_id varchar, timestamp timestamp_tz, received_at timestamp_tz,"
                  " source number(10,0), event variant, metadata variant, _sample_rate float, _late boolean,"
                  " _rescued varchar, date date)")  # fmt: skip
    batch = [{"source": str(n), "event": {f"n{n}": {"deep": n}}} for n in range(7)]
    batch[1]["other"], batch[4]["other"] = {"x": "y"}, 4
    batch[2]["source"], batch[6]["source"] = "two", "six"
    crashing = account.dataflow(schema="reject")
    crashing.stage(batch, offset=3)
    after_lost_answer("UPDATE", account)
    with pytest.raises(Transient):
        crashing.commit()
    account.front.fault = passing
    crashing.writer.reset()
    restarted = account.dataflow(schema="reject")
    sent = restarted.take(batch, offset=3)
    account.dataflow(schema="reject").take(batch, offset=3)
    assert account.ids() == [sent[n] for n in (0, 3, 5)]
    assert account.query("SELECT count(*) FROM payments WHERE _rescued IS NOT NULL") == [(0,)]
    letters = {one["event_id"]: one for one in account.dead()}
    assert len(account.dead()) == 4
    assert {sent.index(one): letter["stage"] for one, letter in letters.items()} == {
        1: "schema",
        2: "destination",
        4: "schema",
        6: "destination",
    }
    assert {letter["destination"] for letter in letters.values()} == {"dw"}
    payload = json.loads(letters[sent[1]]["payload"])
    assert payload["event"] == {"n1": {"deep": 1}}
    assert payload["_rescued"] == {"other": {"x": "y"}}
    assert json.loads(letters[sent[6]]["payload"])["source"] == "six"


@pytest.mark.parametrize("schema", ["evolve", "rescue"])
def test_what_has_no_column_is_rescued_unless_the_schema_is_strict(account: Account, schema: str) -> None:
    sent = account.dataflow(schema=schema).take([event(a=1), {**event(b=[1]), "other": {"x": "y"}}])
    assert account.ids() == sent
    [[row]] = account.query("SELECT _rescued FROM payments WHERE _rescued IS NOT NULL")
    assert json.loads(row) == {"other": {"x": "y"}}
    assert account.dead() == []


def test_the_floor_is_the_lowest_offset_that_is_held(account: Account) -> None:
    dataflow = account.dataflow()
    assert dataflow.writer.floor(0) is None
    dataflow.stage([event(a=1)], offset=3)
    dataflow.stage([event(a=1)], offset=7)
    assert dataflow.writer.floor(0) == 3
    dataflow.commit()
    assert dataflow.writer.floor(0) == 8


def test_a_session_that_expired_is_a_failure_that_passes(account: Account) -> None:
    dataflow: Dataflow = account.dataflow()
    dataflow.take([event(a=0)], offset=0)
    once("BEGIN", lambda _forward: told("390114", "Authentication token has expired."), account)
    dataflow.stage([event(a=1)], offset=1)
    with pytest.raises(Transient):
        dataflow.commit()
    dataflow.writer.reset()
    dataflow.take([event(a=1)], offset=1)
    assert len(account.ids()) == 2
