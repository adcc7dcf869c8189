"""`types:` hints, and the conventions by which a value fits its column or is rescued."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.sinks.tables import STREAM, Dataflow, read_table, rescued


def taken(lake: Path, *batches: list[Any], types: dict[str, str] | None = None) -> list[tuple[Any, dict[str, Any]]]:
    """(`event`, members of `_rescued`) of each event, in order, each batch committed by itself."""
    dataflow = Dataflow(lake, types=types)
    ids = [event_id for batch in batches for event_id in dataflow.take([of(event) for event in batch])]
    rows = {row["event_id"]: row for row in read_table(lake / STREAM)}
    return [(rows[event_id].get("event"), rescued(rows[event_id])) for event_id in ids]


def of(event: Any) -> Any:
    return '{"source":"s","event":' + event + "}" if isinstance(event, str) else {"source": "s", "event": event}


HINTED = [
    ("DECIMAL(18,2)", "4.99", Decimal("4.99")),
    ("DECIMAL(18,2)", "4.990", Decimal("4.99")),
    ("DECIMAL(18,2)", '"12.50"', Decimal("12.50")),
    ("DECIMAL(18,2)", "-5", Decimal("-5.00")),
    ("DECIMAL(18,2)", "1e2", Decimal("100.00")),
    ("DECIMAL(18,2)", '"9999999999999999.99"', Decimal("9999999999999999.99")),
    ("DECIMAL(38,0)", "99999999999999999999999999999999999999", Decimal("99999999999999999999999999999999999999")),
    ("BIGINT", "2.0", 2),
    ("BIGINT", '"17"', 17),
    ("BIGINT", "9223372036854775807", 9223372036854775807),
    ("BIGINT", "1e3", 1000),
    ("INTEGER", "7", 7),
    ("SMALLINT", "-32768", -32768),
    ("DOUBLE", "0.1", 0.1),
    ("DOUBLE", "5", 5.0),
    ("DOUBLE", '"2.5"', 2.5),
    ("DOUBLE", "9007199254740992", 9007199254740992.0),
    ("FLOAT", "0.5", 0.5),
    ("BOOLEAN", "true", True),
    ("BOOLEAN", '"false"', False),
    ("VARCHAR", '"5"', "5"),
    ("VARCHAR", '""', ""),
    ("VARCHAR", "5.25", "5.25"),
    ("VARCHAR", "true", "true"),
    ("VARCHAR", '{"a": 1}', '{"a":1}'),
    ("DATE", '"2025-02-12"', date(2025, 2, 12)),
    ("DATE", '"0001-01-01"', date(1, 1, 1)),
    ("TIMESTAMP WITH TIME ZONE", '"2025-02-12T14:32:15Z"', datetime(2025, 2, 12, 14, 32, 15, tzinfo=UTC)),
    ("TIMESTAMP WITH TIME ZONE", '"2025-02-12T14:32:15.123456+01:00"', datetime(2025, 2, 12, 13, 32, 15, 123456, UTC)),
    ("TIMESTAMP WITH TIME ZONE", '"2025-02-12 14:32:15"', datetime(2025, 2, 12, 14, 32, 15, tzinfo=UTC)),
    ("BIGINT[]", "[1,2,null]", [1, 2, None]),
    ("BIGINT[]", "[]", []),
]

MISFITS = [
    ("DECIMAL(18,2)", "4.999"),
    ("DECIMAL(18,2)", '"4.999"'),
    ("DECIMAL(18,2)", "99999999999999999.99"),
    ("DECIMAL(18,2)", '"twelve"'),
    ("DECIMAL(18,2)", '""'),
    ("DECIMAL(18,2)", "1e-3"),
    ("DECIMAL(18,2)", "true"),
    ("DECIMAL(18,2)", "[1]"),
    ("BIGINT", "2.5"),
    ("BIGINT", "9223372036854775808"),
    ("BIGINT", "true"),
    ("BIGINT", '" 5"'),
    ("BIGINT", '{"a":1}'),
    ("SMALLINT", "32768"),
    ("DOUBLE", "9007199254740993"),
    ("DOUBLE", '"nan"'),
    ("DOUBLE", '"x"'),
    ("DOUBLE", '"1e400"'),
    ("DOUBLE", "true"),
    ("FLOAT", "0.1"),
    ("BOOLEAN", "1"),
    ("BOOLEAN", '"yes"'),
    ("DATE", '"2025-02-12T14:32:15Z"'),
    ("DATE", '"2025-02-30"'),
    ("DATE", "20250212"),
    ("TIMESTAMP WITH TIME ZONE", '"yesterday"'),
    ("TIMESTAMP WITH TIME ZONE", '"infinity"'),
    ("TIMESTAMP WITH TIME ZONE", '"2025-02-12T14:32:15.123456789Z"'),
    ("TIMESTAMP WITH TIME ZONE", "1739370735"),
    ("BIGINT[]", "[1.5]"),
    ("BIGINT[]", '["x"]'),
    ("BIGINT[]", "3"),
]


def test_a_hinted_column_takes_what_its_type_holds_exactly(tmp_path: Path) -> None:
    for number, (kind, value, held) in enumerate(HINTED):
        events = taken(tmp_path / str(number), [f'{{"n":1,"a":{value}}}'], types={"event.a": kind})
        assert events == [({"n": 1, "a": held}, {})], (kind, value)


def test_a_hinted_column_rescues_what_its_type_does_not_hold_exactly(tmp_path: Path) -> None:
    for number, (kind, value) in enumerate(MISFITS):
        events = taken(tmp_path / str(number), [f'{{"n":1,"a":{value}}}'], types={"event.a": kind})
        assert events == [({"n": 1, "a": None}, {"event.a": json.loads(value)})], (kind, value)


def test_a_hint_under_what_is_sometimes_no_object(tmp_path: Path) -> None:
    found = taken(
        tmp_path,
        [{"o": {"amount": 4.5}}, {"o": 7}, {"o": None}, {"o": [1]}, {}],
        types={"event.o.amount": "DECIMAL(18,2)"},
    )
    assert found[0] == ({"o": {"amount": Decimal("4.50")}}, {})
    assert found[1][1] == {"event.o": 7}
    assert found[2][1] == {}
    assert found[3][1] == {"event.o": [1]}


def test_a_hint_in_another_case_than_the_events(tmp_path: Path) -> None:
    [(event, lost)] = taken(tmp_path, [{"Amount": "4.50", "n": 1}], types={"event.amount": "DECIMAL(18,2)"})
    assert (event.get("amount"), event.get("Amount"), lost).count(Decimal("4.50")) == 1 or lost == {
        "event.Amount": "4.50"
    }


def test_the_spelling_of_a_hint_is_the_column_whatever_else_comes_with_it(tmp_path: Path) -> None:
    found = taken(tmp_path, [{"D": 7}, {"d": "1.50"}], types={"event.d": "DECIMAL(18,2)"})
    assert [(_without_nulls(event or {}), lost) for event, lost in found] == [
        ({}, {"event.D": 7}),
        ({"d": Decimal("1.50")}, {}),
    ]


def test_a_hint_that_changed_after_the_table_was_made_rescues_what_no_longer_fits(tmp_path: Path) -> None:
    Dataflow(tmp_path, types={"event.a": "BIGINT"}).take([of({"a": 1})])
    changed = Dataflow(tmp_path, types={"event.a": "DECIMAL(18,2)"})
    changed.take([of({"a": 2.5}), of({"a": 3})], offset=1)
    found = [
        (row["event"]["a"], rescued(row)) for row in sorted(read_table(tmp_path / STREAM), key=lambda r: r["event_id"])
    ]
    assert found == [(1, {}), (None, {"event.a": 2.5}), (3, {})]


@pytest.mark.parametrize(
    ("first", "second", "held", "lost"),
    [
        (1, 2.0, 2, {}),
        (1, 2.5, None, {"event.a": 2.5}),
        (1, "2", None, {"event.a": "2"}),
        (1, True, None, {"event.a": True}),
        (1, 2**63, None, {"event.a": 2**63}),
        ("x", 5, None, {"event.a": 5}),
        ("x", {"b": {"c": [1]}}, None, {"event.a": {"b": {"c": [1]}}}),
        ("x", [], None, {"event.a": []}),
        (1.5, 2**53, float(2**53), {}),
        (1.5, 2**53 + 1, None, {"event.a": 2**53 + 1}),
        (1.5, 2**60, float(2**60), {}),
        (True, 1, None, {"event.a": 1}),
        ([1], [], [], {}),
        ([1], [2.0], [2], {}),
        ([1], [2.5], None, {"event.a": [2.5]}),
        ([1], [None, 2], [None, 2], {}),
        ([1], 1, None, {"event.a": 1}),
        ({"b": 1}, 7, None, {"event.a": 7}),
        ({"b": 1}, {"b": "x"}, {"b": None}, {"event.a.b": "x"}),
        ([{"b": 1}], [{"b": 2, "c": 3}], [{"b": 2, "c": 3}], {}),
    ],
)
def test_a_column_keeps_its_first_type(
    tmp_path: Path, first: Any, second: Any, held: Any, lost: dict[str, Any]
) -> None:
    found = taken(tmp_path, [{"a": first, "n": 1}], [{"a": second, "n": 2}])
    event, members = found[1]
    if isinstance(held, dict) and event["a"] is None:
        held = None  # a struct with nothing in it
    assert (event["a"], members) == (held, lost)


def test_one_value_that_is_no_object_leaves_the_fields_of_the_others_in_their_columns(tmp_path: Path) -> None:
    found = taken(
        tmp_path,
        [{"a": {"x": 1}}, {"a": "text"}, {"a": {"y": 2, "x": 3}}, {"a": {"x": "no", "o": {"p": 1}, "X": 4}}],
        [{"a": {"new": True, "x": 5, "0": 6}}, {"a": ["zero"]}, {"a": {"o": {"q": [1], "p": 2}}}],
    )
    assert [(_without_nulls(event), lost) for event, lost in found] == [
        ({"a": {"x": 1}}, {}),
        ({}, {"event.a": "text"}),
        ({"a": {"x": 3, "y": 2}}, {}),
        ({"a": {"o": {"p": 1}}}, {"event.a.x": "no", "event.a.X": 4}),
        ({"a": {"x": 5, "new": True, "0": 6}}, {}),
        ({}, {"event.a": ["zero"]}),
        ({"a": {"o": {"p": 2, "q": [1]}}}, {}),
    ]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return value


def test_deep_and_wide_events_keep_what_no_column_holds(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(60):
        deep = {"d": deep}
    wide = {f"id_{number}": number for number in range(1_200)}
    (_, lost), (wide_event, wide_lost) = taken(tmp_path, [{"deep": deep}, {"wide": wide}])
    assert lost == {"event.deep": deep}
    held = {name: value for name, value in wide_event["wide"].items() if value is not None}
    back = {path.removeprefix("event.wide."): value for path, value in wide_lost.items()}
    assert held | back == wide
    assert len(held) <= 1_000
