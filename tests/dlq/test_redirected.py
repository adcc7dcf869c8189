"""Events that are sent again for one destination, among others, within a batch of the log."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from connectors.batch import LogBatch, batch_of
from connectors.log import Block, open_log
from connectors.record import Record, Replay, new_request_id
from connectors.sinks.base import Outcome, Rows
from connectors.source import Stop
from flows.config import load
from flows.graph import wire
from flows.redirected import in_offset_order
from tests.flows.pipelines import STREAM, write_config

PARSE = {"field": "event.line", "as": "json", "into": "event.it", "on_error": "dead_letter"}


def processing(tmp_path: Path, **stream: Any) -> Callable[[tuple[str, LogBatch]], tuple[str, Outcome]]:
    text = {
        "streams": {"pay": {"id": STREAM, **stream}},
        "destinations": {name: {"type": "delta", "uri": str(tmp_path / name / "{stream}")} for name in ("lake", "big")},
    }
    config = load(write_config(tmp_path, text))
    return wire(config, open_log(config.log), Stop(), {}).processing


def batch(events: list[tuple[dict[str, Any], str | None]], only: str | None = None, stream: str = STREAM) -> LogBatch:
    """Events, each with the destination that it is sent again for, if it is."""
    records = []
    for event, to in events:
        replay = None if to is None else Replay(new_request_id(), 5, None if to == "*" else to)
        value = json.dumps({"source": "a", "event": event}).encode()
        records.append(Record(stream, new_request_id(), 7, 1, value, 0, replay))
    return batch_of(Block(0, list(range(len(records))), records, len(records)), start=0, only=only)


def offsets(outcome: Outcome) -> dict[str, list[int]]:
    return {
        name: [offset for part in parts for offset in part.table["_offset"].to_pylist()]
        for name, parts in outcome.rows.items()
    }


def test_only_that_destination_gets_them_in_the_order_of_the_log(tmp_path: Path) -> None:
    routes = [{"to": ["lake", "big"]}]
    events = [({"n": 0}, "big"), ({"n": 1}, None), ({"n": 2, "more": 1}, "big"), ({"n": 3}, "*"), ({"n": 4}, "lake")]
    run = processing(tmp_path, routes=routes)
    _, outcome = run(("00000", batch(events)))
    assert offsets(outcome) == {"lake": [1, 3, 4], "big": [0, 1, 2, 3]}
    _, outcome = run(("00000", batch(events, only="big")))
    assert offsets(outcome)["big"] == [0, 1, 2, 3]
    assert not outcome.rows.get("dead_letters")


def test_one_that_its_routes_lead_elsewhere_becomes_a_dead_letter_again_and_one_that_is_dropped_does_not(
    tmp_path: Path,
) -> None:
    routes = [{"when": "event.n = 1", "to": ["big"]}, {"to": ["lake"]}]
    steps = [{"filter": "event.n < 4"}, {"parse": PARSE}]
    events = [({"n": n, "line": "{}" if n != 2 else "{"}, "big") for n in (0, 1, 2, 4)]
    run = processing(tmp_path, routes=routes, steps=steps)
    for only in (None, "dead_letters"):
        _, outcome = run(("00000", batch(events, only=only)))
        letters = pa.concat_tables([part.table for part in outcome.rows["dead_letters"]]).to_pylist()
        assert [(one["offset"], one["stage"], one["destination"]) for one in letters] == [
            (0, "routes", "big"),
            (2, "parse", "big"),
        ]
        assert {one["received_at"].microsecond for one in letters} == {5}
        assert offsets(outcome).get("big") == ([1] if only is None else None)
        assert "lake" not in outcome.rows


def test_one_of_a_stream_that_is_no_more_keeps_its_destination(tmp_path: Path) -> None:
    events: list[tuple[dict[str, Any], str | None]] = [({"n": 1}, "big"), ({"n": 2}, None)]
    _, outcome = processing(tmp_path)(("00000", batch(events, stream=STREAM.replace("1", "7"))))
    letters = [row for part in outcome.rows["dead_letters"] for row in part.table.to_pylist()]
    assert [(one["offset"], one["stage"], one["destination"]) for one in letters] == [
        (0, "stream", "big"),
        (1, "stream", None),
    ]


def test_parts_of_different_columns_are_cut_where_they_interleave() -> None:
    def part(offsets: list[int], **columns: list[int]) -> Rows:
        return Rows("s", pa.table({"_offset": offsets, **columns}))

    ordered = in_offset_order([part([1, 2, 5], a=[1, 2, 5]), part([0, 3], b=[0, 3]), Rows("t", part([9]).table)])
    assert [(one.stream, one.table["_offset"].to_pylist()) for one in ordered] == [
        ("s", [0]),
        ("s", [1, 2]),
        ("s", [3]),
        ("s", [5]),
        ("t", [9]),
    ]
