"""Rows as JSON documents."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from connectors.sinks.documents import Documents
from tests.sinks.sending import rows_of


def documents(*events: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    made = Documents(**options).of("payments", rows_of(list(events)))
    return [json.loads(text) for text in made.column("document").to_pylist()]


def test_a_document_has_what_the_row_has_and_no_nulls() -> None:
    event = {
        "source": 'quo"te',
        "timestamp": "2025-02-12T14:32:15Z",
        "event": {"n": 1, "f": 2.5, "b": True, "s": "é\n", "l": [1, 2], "o": {"x": "y", "z": None}, "os": [{"k": 1}]},
        "metadata": {"team": "a"},
    }
    other = {"source": "app", "timestamp": "0001-01-01T00:00:00.000001Z", "event": {"m": 1}}
    [first, second] = documents(event, other)
    assert first["event"] == {**event["event"], "o": {"x": "y"}}
    assert {name: first[name] for name in ("source", "metadata", "stream", "_sample_rate", "_late")} == {
        "source": 'quo"te',
        "metadata": {"team": "a"},
        "stream": "payments",
        "_sample_rate": 1.0,
        "_late": False,
    }
    assert first["timestamp"] == "2025-02-12T14:32:15.000000Z"
    assert first["event_id"].endswith("-0")
    assert "date" not in first
    assert "_offset" not in first
    assert second["timestamp"] == "0001-01-01T00:00:00.000001Z"
    assert second["event"] == {"m": 1}
    assert "metadata" not in second


def test_numbers_arrive_as_they_were() -> None:
    [found] = documents({"source": "a", "event": {"big": 2**53 + 1, "f": 0.1, "e": 1e300, "neg": -7, "z": 0.0}})
    assert found["event"] == {"big": 2**53 + 1, "f": 0.1, "e": 1e300, "neg": -7, "z": 0.0}


def test_values_of_several_kinds_keep_their_kind() -> None:
    found = documents(*({"source": "a", "event": {"v": value}} for value in (1, "x", [1], {"a": None}, True)))
    assert [one["event"]["v"] for one in found] == [1, "x", [1], {"a": None}, True]


def test_what_no_column_carries_is_in_rescued() -> None:
    [found] = documents({"source": "a", "event": {"n": 1}, "extra": {"a": [1]}})
    assert json.loads(found["_rescued"]) == {"extra": {"a": [1]}}


def test_constants_and_the_time_under_a_name_of_its_own() -> None:
    [found] = documents(
        {"source": "a", "timestamp": "2025-02-12T14:32:15Z", "event": {}}, constants={"type": "x"}, time_as="@timestamp"
    )
    assert (found["type"], found["@timestamp"]) == ("x", "2025-02-12T14:32:15.000000Z")


def test_a_rollup_row_is_known_by_its_content_and_has_its_window_as_its_time() -> None:
    start = datetime(2025, 2, 12, 14, tzinfo=UTC)
    rows = pa.table(
        {
            "window_start": pa.array([start, start], pa.timestamp("us", "UTC")),
            "source": ["a", "b"],
            "events": [1, 2],
            "_offset": [4, 5],
        }
    )
    made = Documents(time_as="@timestamp").of("payments_per_minute", rows).to_pylist()
    assert [one["_time"] for one in made] == ["2025-02-12T14:00:00.000000Z"] * 2
    assert len({one["event_id"] for one in made}) == 2
    again = Documents(time_as="@timestamp").of("payments_per_minute", rows.set_column(3, "_offset", [[9, 10]]))
    assert again.column("event_id").to_pylist() == [one["event_id"] for one in made]
    assert json.loads(made[0]["document"])["window_start"] == "2025-02-12T14:00:00.000000Z"
