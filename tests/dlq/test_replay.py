"""My events were refused: list them, mend the configuration, replay, and each is in its table once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.log import Log
from connectors.log.seeking import between, ends
from connectors.record import Record
from tests.dlq.forked import drain
from tests.dlq.letters import dlq, letters, listed, replayed
from tests.flows.pipelines import STREAM, append, event_ids, opened, rows, write_config
from tests.services.web import Request, WebServer


def stream(tmp_path: Path, **settings: Any) -> Path:
    return write_config(tmp_path, {"streams": {"pay": {"id": STREAM, **settings}}})


def sent_again(log: Log) -> list[Record]:
    """The records of the log that send an event again."""
    found = [record for p, end in ends(log).items() for _, record in between(log, p, 0, end)]
    return [record for record in found if record.replay is not None]


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.stop()


def test_what_a_strict_schema_refused_lands_once_the_schema_may_grow(tmp_path: Path) -> None:
    path = stream(tmp_path, schema="reject", steps=[{"mask": {"event.mail": "hash"}}])
    config, log = opened(path)
    first = append(log, [{"source": "a", "event": {"n": 1, "mail": "x@y.z"}}])
    drain(path)
    refused = append(log, [{"source": "a", "event": {"n": n, "new": n, "mail": "x@y.z"}} for n in (2, 3)], key="k")
    good = append(log, [{"source": "a", "event": {"n": 4, "mail": "x@y.z"}}])
    drain(path)
    assert sorted(event_ids(config)) == sorted(first + good)
    found = listed(path)
    assert [(row["event_id"], row["stage"], row["destination"]) for row in found] == [
        (one, "schema", "lake") for one in refused
    ]
    assert listed(path, "--where", "payload->>'$.event.n' = '3'") == [found[1]]
    path = stream(tmp_path, steps=[{"mask": {"event.mail": "hash"}}])
    assert replayed(path)["replayed"] == 2
    assert listed(path) == []
    for record in sent_again(log):  # a broker that took what its producer never heard of
        log.append(record)
    drain(path)
    landed = rows(config, "event_id, received_at, event.new, event.mail")
    assert sorted(row[0] for row in landed) == sorted(first + refused + good)
    by_id = {row[0]: row[1:] for row in landed}
    assert [by_id[one][1] for one in refused] == [2, 3]
    assert len({mail for _, _, mail in by_id.values()}) == 1, "a mask is applied once, not to what it had made"
    assert [by_id[one][0].isoformat() for one in refused] == [
        row["received_at"].replace("Z", "+00:00") for row in found
    ], "the time of receipt is the original one"
    assert replayed(path) == {"replayed": 0, "finished": 0, "not_replayed": []}
    assert "no dead letters" not in dlq(path, "replay")


def test_what_a_server_refused_goes_to_that_server_alone_and_fails_again_into_the_letters(
    tmp_path: Path, web: WebServer
) -> None:
    taken: list[bytes] = []

    def answer(request: Request) -> int:
        if b'"bad"' in request.body:
            return 422
        taken.append(request.body)
        return 200

    web.answer = answer
    text = {
        "destinations": {
            "lake": {"type": "delta", "uri": str(tmp_path / "lake" / "{stream}")},
            "hook": {"type": "http", "url": web.url},
        },
        "streams": {"pay": {"id": STREAM, "routes": [{"to": ["lake", "hook"]}]}},
    }
    path = write_config(tmp_path, text)
    config, log = opened(path)
    ids = append(log, [{"source": "a", "event": {"kind": kind}} for kind in ("fine", "bad", "bad")])
    drain(path)
    assert [row["event_id"] for row in listed(path)] == ids[1:]
    versions = {row["config_version"] for row in listed(path)}
    text["streams"]["pay"]["steps"] = [{"set": {"event.kind": f"if(event_id = '{ids[1]}', 'good', event.kind)"}}]
    path = write_config(tmp_path, text)
    assert replayed(path)["replayed"] == 2
    append(log, [{"source": "a", "event": {"kind": "later"}}])
    drain(path)
    assert sorted(event_ids(config))[:3] == sorted(ids), "the lake has them once"
    assert b"".join(taken).count(b'"good"') == 1
    assert b"".join(taken).count(ids[0].encode()) == 1
    [again] = listed(path)
    assert (again["event_id"], again["destination"]) == (ids[2], "hook")
    assert again["config_version"] not in versions
    web.answer = lambda _request: 200
    assert replayed(path)["replayed"] == 1
    drain(path)
    assert letters(config.data) == []
    assert sorted(event_ids(config))[:3] == sorted(ids)


def test_what_the_log_has_no_more_is_sent_from_the_letter_as_it_was(tmp_path: Path) -> None:
    path = stream(tmp_path, schema="reject")
    config, log = opened(path)
    append(log, [{"source": "a", "event": {"n": 1}}])
    drain(path)
    odd = {"n": "three", "new": {"a b": 1.10, "big": 9007199254740993}}
    event = {"timestamp": "2025-01-01T00:00:00.5+02:00", "source": "a", "event": odd, "metadata": {"m": 1}, "more": [1]}
    [refused] = append(log, [event], key="k")
    drain(path)
    [letter] = listed(path)
    log.close()
    shutil.rmtree(config.data / "log")
    path = stream(tmp_path, types={"event.n": "VARCHAR"})
    assert replayed(path)["replayed"] == 1
    drain(path)
    columns = "event_id, received_at, timestamp, source, event.new, metadata.m, _rescued"
    [row] = [row for row in rows(config, columns) if row[0] == refused]
    assert row[1].isoformat() == letter["received_at"].replace("Z", "+00:00")
    assert row[2].isoformat() == "2024-12-31T22:00:00.500000+00:00"
    assert row[3:6] == ("a", {"a b": 1.1, "big": 9007199254740993}, 1)
    assert json.loads(row[6]) == {"event.n": "three", "more": [1]}
    assert letters(config.data) == []
