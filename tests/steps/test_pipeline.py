"""Steps and routes compiled together, over a few events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from flows.columns import SYSTEM, Path
from flows.compile import compile_pipeline
from flows.config import Stream
from flows.processor import StreamProcessor, open_pipeline_engine
from flows.routes import Route
from flows.steps import Drop, Filter, Set
from tests.steps.parsing import lines_of

COLUMNS: dict[Path, str] = {
    **SYSTEM,
    ("event", "status"): "VARCHAR",
    ("event", "amount"): "BIGINT",
    ("event", "j"): "JSON",
    ("event", "http", "method"): "VARCHAR",
    ("event", "http", "code"): "BIGINT",
}
Rows = Callable[..., list[dict[str, Any]]]


def test_a_filter_keeps_what_is_true_and_marks_the_rest_with_its_place(rows_of: Rows) -> None:
    plan = compile_pipeline([Filter("event.amount > 1"), Filter("event.status = 'ok'")], [], COLUMNS)
    events = [{"event.amount": 1}, {"event.amount": 2, "event.status": "ok"}, {"event.amount": 2}, {}]
    assert [row.get("_drop") for row in rows_of(plan, COLUMNS, events)] == [0, None, 1, 0]
    assert plan.fate_columns == ("_drop",)


def test_set_sees_the_event_as_it_was_before_the_step(rows_of: Rows) -> None:
    step = Set({"event.amount": "event.status", "event.status": "event.amount"})
    (row,) = rows_of(compile_pipeline([step], [], COLUMNS), COLUMNS, [{"event.amount": 5, "event.status": "ok"}])
    assert (row["event.amount"], row["event.status"]) == ("ok", 5)


def test_set_makes_levels_and_takes_the_place_of_what_was_there(rows_of: Rows) -> None:
    step = Set({"event.http": "5", "event.new.deep": "{'x': 1, 'y': {'z': event.amount}}", "event.Status.sub": "true"})
    plan = compile_pipeline([step], [], COLUMNS)
    (row,) = rows_of(plan, COLUMNS, [{"event.amount": 5, "event.status": "ok", "event.http.method": "GET"}])
    assert row["event.http"] == 5
    assert (row["event.new.deep.x"], row["event.new.deep.y.z"], row["event.status.sub"]) == (1, 5, True)
    assert ("event", "status") not in plan.columns
    assert ("event", "http", "method") not in plan.columns


def test_set_inside_a_json_column_keeps_the_rest_of_its_object(rows_of: Rows) -> None:
    plan = compile_pipeline([Set({"event.j.b.c": "event.amount"})], [], COLUMNS)
    rows = rows_of(plan, COLUMNS, [{"event.amount": 5, "event.j": '{"a":1}'}, {"event.amount": 6, "event.j": '"x"'}])
    assert [row["event.j"] for row in rows] == ['{"a":1,"b":{"c":5}}', '{"b":{"c":6}}']


def test_null_leaves_source_and_timestamp_as_they_were(rows_of: Rows) -> None:
    plan = compile_pipeline([Set({"source": "event.status", "timestamp": "event.http.method"})], [], COLUMNS)
    rows = rows_of(
        plan, COLUMNS, [{"event.status": "new", "event.http.method": "2020-01-01"}, {"event.http.method": "x"}]
    )
    assert [row["source"] for row in rows] == ["new", "src"]
    assert [row["timestamp"] for row in rows] == ["2020-01-01 00:00:00+00", "2024-05-01 00:00:00+00"]


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("event.amount::INTEGER", "BIGINT"),
        ("event.amount * 1.08", "DOUBLE"),
        ("1.5", "DOUBLE"),
        ("event.amount::DECIMAL(18,2)", "DECIMAL(18,2)"),
        ("event.amount::FLOAT", "DOUBLE"),
        ("list_sum([event.amount])", "BIGINT"),
        ("INTERVAL 5 MINUTE", "VARCHAR"),
        ("map {'a': event.amount}", "JSON"),
        ("[event.amount::INTEGER]", "BIGINT[]"),
        ("strptime(event.status, '%Y')", "TIMESTAMP WITH TIME ZONE"),
    ],
)
def test_a_result_has_a_type_that_a_table_can_hold(rows_of: Rows, expression: str, kind: str) -> None:
    plan = compile_pipeline([Set({"event.new": expression})], [], COLUMNS)
    assert plan.columns[("event", "new")] == kind
    held = compile_pipeline([Set({"event.new": expression}), Set({"event.new": "event.new::VARCHAR"})], [], COLUMNS)
    (row,) = rows_of(held, COLUMNS, [{"event.amount": 5, "event.status": "2020"}])
    assert row["event.new"]


def test_what_is_dropped_is_nowhere(rows_of: Rows) -> None:
    plan = compile_pipeline([Drop(("event.debug", "event.HTTP", "event.j.secret"))], [], COLUMNS)
    extra = "sql:MAP {'event.debug.x': '1'::JSON, 'event': '{\"debug\":2,\"kept\":3}'::JSON, 'event.Debug': '4'::JSON}"
    only = "sql:MAP {'event.debug': '1'::JSON}"
    events = [{"_extra": extra, "event.http.code": 404, "event.j": '{"secret":1,"a":2}'}, {"_extra": only}, {}]
    rows = rows_of(plan, COLUMNS, events)
    assert rows[0]["_extra"] == {"event": '{"kept":3}'}
    assert rows[0]["event.j"] == '{"a":2}'
    assert not any(path[:2] == ("event", "http") for path in plan.columns)
    assert "_extra" not in rows[1]
    assert "_extra" not in rows[2]


def test_many_drops_of_deep_paths_compile_to_a_query_of_modest_size() -> None:
    paths = tuple(f"event.a{n}.b.c.d.e" for n in range(50))
    assert len(compile_pipeline([Drop(paths)], [], COLUMNS).sql("input")) < 100_000


@pytest.mark.parametrize("path", ["event", "event_id", "timestamp", "source", "event..a", ""])
def test_drop_refuses_what_is_no_field_below_event_or_metadata(path: str) -> None:
    with pytest.raises(ValueError, match=r"drop|path of a field"):
        compile_pipeline([Drop((path,))], [], COLUMNS)


@pytest.mark.parametrize("path", ["event", "event_id", "received_at", "stream", "other.a"])
def test_set_refuses_what_cannot_be_set(path: str) -> None:
    with pytest.raises(ValueError, match="cannot set"):
        compile_pipeline([Set({path: "1"})], [], COLUMNS)


def _destinations(row: dict[str, Any]) -> set[str]:
    return {name.removeprefix("_to:") for name, value in row.items() if name.startswith("_to:") and value}


def test_the_first_route_takes_an_event_unless_it_lets_it_go_on(rows_of: Rows) -> None:
    routes = [
        Route(when="event.amount > 10", to=("siem",), also=True),
        Route(when="event.status = 'audit'", to=("search",)),
        Route(when="event.amount > 100", to=("big", "lake")),
    ]
    plan = compile_pipeline([Filter("event.amount > 0")], routes, COLUMNS)
    events = [
        {"event.amount": 5},
        {"event.amount": 50},
        {"event.amount": 500, "event.status": "audit"},
        {"event.amount": 500},
        {"event.amount": 0, "event.status": "audit"},
    ]
    rows = rows_of(plan, COLUMNS, events)
    assert [_destinations(row) for row in rows] == [
        {"lake"},
        {"siem", "lake"},
        {"siem", "search"},
        {"siem", "big", "lake"},
        set(),
    ]
    assert [row["_unmatched"] for row in rows] == [True, True, False, False, False]


def test_one_catch_all_needs_no_columns() -> None:
    plan = compile_pipeline([], [Route(to=("a", "b")), Route(to=("c",))], COLUMNS)
    assert (plan.routed, plan.destinations, plan.fate_columns) == (False, ("a", "b"), ())


def test_dropped_rows_do_not_reach_later_steps(rows_of: Rows) -> None:
    steps = [Filter("event.amount > 1"), Set({"event.half": "event.amount / 2"})]
    rows = rows_of(compile_pipeline(steps, [], COLUMNS), COLUMNS, [{"event.amount": 1}, {"event.amount": 4}])
    assert "event.half" not in rows[0]
    assert rows[1]["event.half"] == 2


def test_an_expression_that_fits_no_type_is_a_warning_of_the_plan(rows_of: Rows) -> None:
    plan = compile_pipeline([Filter("list_contains(event.amount, 1)")], [], COLUMNS)
    assert len(plan.warnings) == 1
    assert rows_of(plan, COLUMNS, [{"event.amount": 1}])[0]["_drop"] == 0


def test_rows_keep_their_order(rows_of: Rows) -> None:
    plan = compile_pipeline([Filter("event.amount % 3 = 0"), Set({"event.b": "event.amount + 1"})], [], COLUMNS)
    events = [{"event.amount": n} for n in range(300)]
    assert [row["event.amount"] for row in rows_of(plan, COLUMNS, events)] == list(range(300))


def test_the_date_is_the_day_in_utc_however_far_away() -> None:
    instants = {
        "2024-01-01T00:30:00+02:00": date(2023, 12, 31),
        "2024-02-29T23:59:59.999999Z": date(2024, 2, 29),
        "1969-12-31T23:59:59.999999Z": date(1969, 12, 31),
        "1582-10-10T00:00:00Z": date(1582, 10, 10),
        "0001-01-01T00:00:00Z": date(1, 1, 1),
        "9999-12-31T23:59:59.999999Z": date(9999, 12, 31),
    }
    events = [{"timestamp": instant, "source": "a", "event": {}} for instant in (*instants, "infinity")]
    processor = StreamProcessor("s", Stream(id="x"), "lake", open_pipeline_engine())
    dates = processor.process(lines_of(events))["lake"].column("date")
    assert dates[:-1].to_pylist() == list(instants.values())
    assert dates.cast(pa.int32())[-1].as_py() == 2**31 - 1  # what Arrow and DuckDB take for no end of days
