"""Which letters the commands mean, and what they say when there is nothing or something is wrong."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from connectors.log.seeking import between, ends
from connectors.record import new_request_id, now_microseconds
from connectors.sinks.dead_letters import SCHEMA
from connectors.sinks.letter_table import KEY, letter_table, remove
from headrace.dlq import replay
from tests.dlq.letters import dlq, failed, letters, listed, replayed
from tests.dlq.test_replay import sent_again
from tests.flows.pipelines import opened, write_config

REQUEST = new_request_id()


def letter(number: int, **members: Any) -> dict[str, Any]:
    known = {
        "event_id": f"{REQUEST}-{number}",
        "stream": "pay",
        "stage": "parse",
        "step": "steps[0].parse",
        "error": "event.line cannot be read as json",
        "config_version": "c0ffee",
        "topic": "events",
        "partition": 0,
        "offset": 1_000_000 + number,
        "index": number,
        "payload": json.dumps({"source": "a", "event": {"n": number}}),
        "received_at": datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
    }
    return dict.fromkeys(SCHEMA.names) | known | members


def keep(path: Path, rows: list[dict[str, Any]], *, without: str = "") -> None:
    """Makes the table of letters hold these as well."""
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    write_deltalake(
        str(path.parent / "data" / "dead_letters"), table.drop_columns([without] if without else []), mode="append"
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_config(tmp_path, {})


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    return [row["index"] for row in rows]


def test_where_nothing_ever_failed_there_is_nothing_and_that_is_no_failure(path: Path) -> None:
    assert listed(path) == []
    assert json.loads(dlq(path, "show", "--stream", "pay", "--json")) == []
    assert replayed(path) == {"replayed": 0, "finished": 0, "not_replayed": []}
    assert json.loads(dlq(path, "drop", "--all", "--json")) == {"dropped": 0}
    dlq(path, "list")
    assert not (path.parent / "data" / "dead_letters").exists()


@pytest.mark.parametrize(
    ("where", "chosen"),
    [
        ("stage = 'schema'", [3]),
        ("payload->>'$.event.n' = '2'", [2]),
        ("payload.event.n > 2", [3]),
        ('"offset" >= 1000002 and partition = 0', [2, 3, 4]),
        ("destination is null and index < 3", [1, 2]),
        ("error like '%columns%' or event_id like '%-1'", [1, 3]),
        ("payload ilike '%garbage%'", [4]),
        ("received_at < '2025-01-01T00:00:02Z'", [1]),
        ("step = 'steps[0].parse' and topic = 'events' and config_version = 'c0ffee'", [1, 2, 4]),
    ],
)
def test_an_expression_chooses_among_all_columns_and_within_the_event(
    where: str, chosen: list[int], path: Path
) -> None:
    keep(path, [letter(2), letter(1)])
    refused = letter(
        3, stage="schema", step=None, destination="lake", error="does not fit the table's columns: event.n"
    )
    keep(path, [refused, letter(4, payload="{garbage", destination="lake")])
    assert numbers(listed(path, "--where", where)) == chosen


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("stage =", "syntax error"),
        ("offset > 5", 'write "offset"'),
        ("stag = 'x'", "did you mean 'stage'"),
        ("event.n = 1", "there is no column 'event'"),
        ("payload in (select 1)", "sub-query"),
        ("length(read_text('/etc/passwd')) > 0", "read_text"),
        ("getenv('HOME') = 'x'", "getenv"),
        ("received_at < now()", "now"),
        ("1 = 1; drop table letters", "one expression"),
        ("count(*) > 1", "many"),
    ],
)
@pytest.mark.parametrize("command", ["list", "replay", "drop"])
def test_an_expression_that_cannot_be_is_refused_with_the_reason(
    command: str, where: str, says: str, path: Path
) -> None:
    keep(path, [letter(1)])
    assert says in dlq(path, command, "--where", where, code=1)
    assert len(letters(path.parent / "data")) == 1


def test_drop_wants_to_be_told_which_and_tells_how_many(path: Path) -> None:
    keep(path, [letter(n, stage="parse" if n % 2 else "schema") for n in range(7)])
    keep(path, [letter(7, stream="other")])
    dlq(path, "drop", code=2)
    dlq(path, "drop", "--all", "--where", "index = 1", code=2)
    assert json.loads(dlq(path, "drop", "--where", "stage = 'schema'", "--json")) == {"dropped": 4}
    assert numbers(listed(path)) == [1, 3, 5, 7]
    assert "1 dead letter dropped" in dlq(path, "drop", "--all", "--stream", "pay", "--limit", "1")
    assert numbers(listed(path)) == [3, 5, 7]
    assert "2 dead letters" in dlq(path, "drop", "--all", "--stream", "pay")
    assert numbers(listed(path)) == [7]


def test_only_the_letter_that_is_meant_goes_where_an_event_has_several(path: Path) -> None:
    same = [letter(1, destination=name, stage="destination", step=None) for name in ("a", "b")]
    keep(path, [*same, letter(1, destination="a", stage="destination", step=None, offset=2_000_000)])
    assert json.loads(dlq(path, "drop", "--where", "destination = 'a' and \"offset\" < 2000000", "--json")) == {
        "dropped": 1
    }
    assert sorted((row["destination"], row["offset"]) for row in listed(path)) == [("a", 2_000_000), ("b", 1_000_001)]


def test_letters_go_beside_writers_that_append_and_none_of_theirs_is_lost(path: Path) -> None:
    keep(path, [letter(n) for n in range(20)])

    def write(writer: int) -> None:
        for n in range(5):
            keep(path, [letter(100 + 10 * writer + n)])

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(2)]
    for thread in writers:
        thread.start()
    table = letter_table(path.parent / "data")
    assert table is not None
    gone = [remove(table, pa.Table.from_pylist([letter(n)]).select(KEY.names)) for n in range(20)]
    for thread in writers:
        thread.join()
    assert gone == [1] * 20
    assert sorted(numbers(listed(path))) == [*range(100, 105), *range(110, 115)]


def test_what_is_shown_is_all_that_is_kept(path: Path) -> None:
    keep(path, [letter(1), letter(2, payload=None)], without="received_at")
    shown = dlq(path, "show", f"{REQUEST}-1")
    assert "stage: parse" in shown
    assert '"n": 1' in shown
    assert "could not be masked" in dlq(path, "show", f"{REQUEST}-2")
    assert "no dead letter" in dlq(path, "show", "nobody", code=1)
    dlq(path, "show", code=2)


def test_what_cannot_be_replayed_is_said_and_stays(path: Path) -> None:
    keep(
        path,
        [
            letter(1, payload=None),
            letter(2, stream="gone"),
            letter(3, destination="nowhere", stage="destination"),
            letter(4, stage="rollup"),
            letter(5, payload="{no json"),
            letter(6, payload='{"event": {}}'),
            letter(7),
        ],
    )
    report = replayed(path, code=1)
    assert report["replayed"] == 1
    reasons = {row["event_id"][-1]: row["reason"] for row in report["not_replayed"]}
    assert sorted(reasons) == ["1", "2", "3", "4", "5", "6"]
    for number, reason in {
        "1": "could not be masked",
        "2": "no stream 'gone'",
        "3": "no destination 'nowhere'",
        "4": "rollup",
        "5": "not JSON",
        "6": "'source' field is required",
    }.items():
        assert reason in reasons[number]
    assert numbers(listed(path)) == [1, 2, 3, 4, 5, 6]


class _Interrupted(Exception):
    """Stands for a death of the command that costs no process: tests/dlq/test_kills.py has real ones."""


def test_what_was_appended_is_known_to_the_next_command_whatever_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(path, [letter(n) for n in range(4)])
    _, log = opened(path)

    append = replay._append

    def interrupted(*arguments: Any) -> None:
        append(*arguments)
        raise _Interrupted

    for n in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(replay, "_append", interrupted)
            assert isinstance(failed(path, "replay", "--where", f"index = {n}"), _Interrupted)
        assert numbers(listed(path)) == list(range(n, 4))
    assert json.loads(dlq(path, "drop", "--where", "index = 2", "--json")) == {"dropped": 1}
    assert numbers(listed(path)) == [3]
    assert replayed(path) == {"replayed": 1, "finished": 0, "not_replayed": []}
    assert sorted(record.first_index for record in sent_again(log)) == [0, 1, 3]
    assert listed(path) == []


def test_an_interruption_that_the_log_cannot_tell_of_any_more_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(path, [letter(1)])
    with monkeypatch.context() as patched:
        patched.setattr("headrace.dlq.replay.remove", lambda *_: 1 // 0)
        failed(path, "replay")
    _, log = opened(path)
    [(partition, offset)] = [
        (p, o) for p, end in ends(log).items() for o, record in between(log, p, 0, end) if record.replay
    ]
    for p in range(log.partitions):
        log.reader([p], {}, group="headrace").commit({p: offset + 1 if p == partition else 0})
    later = now_microseconds() + 8 * 24 * 3_600_000_000
    assert log.retain(now=later) == 1  # type: ignore[attr-defined]
    says = dlq(path, "replay", code=1)
    assert "cannot tell any more" in says
    assert "replay.json" in says
    assert len(listed(path)) == 1
