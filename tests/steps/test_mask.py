"""`mask`: what becomes of a value, wherever it is, and that nothing else does."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.steps import Filter, Mask, Sample, Set
from flows.steps.mask import functions
from tests.steps.processing import processed

CARD = "4111111111111111"


def masked(fields: dict[str, Any], event: dict[str, Any], *more: dict[str, Any], key: str | None = None) -> Any:
    """The first of the events, masked."""
    return processed([Mask(fields)], [event, *more], key=key)[0]["event"]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("redact", CARD, "[redacted]"),
        ("redact", "", "[redacted]"),
        ("last4", CARD, "************1111"),
        ("last4", int(CARD), "************1111"),
        ("last4", float(CARD), "************1111"),
        ("last4", "12345", "*2345"),
        ("last4", "1234", "****"),
        ("last4", "äöü€x", "*öü€x"),
        ("last4", True, "****"),
        ("hash", "x", hashlib.sha256(b"x").hexdigest()),
        ("hash", 5, hashlib.sha256(b"5").hexdigest()),
        ("ip24", "203.0.113.77", "203.0.113.0"),
        ("ip24", "2001:db8:1:2::5", "2001:db8:1::"),
        ("ip24", "::ffff:203.0.113.77", "203.0.113.0"),
        ("ip24", "203.0.113.777", "[redacted]"),
        ("ip24", "fe80::1%eth0", "fe80::"),
        ("ip24", "host.example", "[redacted]"),
        ("null", CARD, None),
        ("pii", "hello", "hello"),
        ("pii", "write to a@b.example", "write to [email]"),
    ],
)
def test_each_kind_gives_what_the_documentation_says(kind: str, value: Any, expected: Any) -> None:
    assert masked({"event.x": kind}, {"x": value, "y": 1}) == {"x": expected, "y": 1}
    # beside a value of another kind the column is JSON
    mixed = masked({"event.x": kind}, {"x": value, "y": 1}, {"x": [value], "y": 1})["x"]
    assert json.loads(mixed or "null") == expected
    listed = masked({"event.x": kind}, {"x": [{"v": value}]})["x"]
    assert listed == [{"v": expected}]


@pytest.mark.parametrize("key", ["k", "k" * 200])
@pytest.mark.parametrize("value", ["a@b.example", "ä", 12])
def test_hmac_is_that_of_rfc_2104_with_the_id_of_its_key(key: str, value: Any) -> None:
    digest = hmac.new(key.encode(), str(value).encode(), hashlib.sha256).hexdigest()
    plain = masked({"event.x": "hmac"}, {"x": value}, key=key)["x"]
    assert plain.split(":")[1] == digest
    mixed = masked({"event.x": "hmac"}, {"x": value}, {"x": [1]}, key=key)["x"]
    assert json.loads(mixed) == plain
    assert masked({"event.x": "hmac"}, {"x": value}, key="other")["x"].split(":")[0] != plain.split(":")[0]


def test_no_key_is_in_what_a_pipeline_compiles_to() -> None:
    from flows.columns import SYSTEM
    from flows.compile import compile_pipeline

    step = Mask({"event.x": "hmac"})
    columns = {**SYSTEM, ("event", "x"): "VARCHAR", ("event", "j"): "JSON"}
    sql = compile_pipeline([step], [], columns, mask_key="sesame-open").sql("t")
    assert "sesame" not in sql
    assert b"sesame".hex() not in sql.lower()
    with pytest.raises(ValueError, match="mask_key"):
        compile_pipeline([step], [], columns)


@pytest.mark.parametrize(
    "path",
    ["event.a.card", "event.*.card", "event.*", "EVENT.A.CARD", 'event."a".*'],
)
def test_a_path_reaches_its_value_through_lists_json_and_what_is_rescued(path: str) -> None:
    holders: list[Callable[[str], Any]] = [
        lambda v: {"a": {"card": v}},
        lambda v: {"a": {"Card": v}},
        lambda v: {"a": [{"card": v}, None, {"card": None}]},
        lambda v: {"a": [{"card": [v]}, {"card": [v, v]}]},
        lambda v: {"a": {"card": {"deep": {"er": [v]}}}},
        lambda v: {"a": [[{"card": v}]]},
        lambda v: {"a": [{"card": v}, 5, "x"]},
    ]
    for events in [*([holder(CARD)] for holder in holders), [holder(CARD) for holder in holders]]:
        rows = processed([Mask({path: "redact"})], events)
        assert CARD not in str(rows)
        assert all("[redacted]" in str(row) for row in rows)


def test_the_path_with_the_most_names_decides() -> None:
    fields = {"event.*": "redact", "event.user.email": "null", "event.user": "last4", "event.*.id": "hash"}
    event = {"user": {"email": "a@b.c", "id": "abcdef", "n": "abcdef"}, "x": "y"}
    expected = {"user": {"email": None, "id": hashlib.sha256(b"abcdef").hexdigest(), "n": "**cdef"}, "x": "[redacted]"}
    fields["event.user.id"] = "hash"
    assert masked(fields, event) == expected
    stray = masked(fields, event, {"user": 5, "x": 1})
    assert json.loads(stray["user"]) == {**expected["user"]}


def test_what_the_mask_does_not_reach_stays_to_the_letter() -> None:
    big = {"n": 123456789012345678901234567890, "f": 1.50, "t": 'é\u2028"\\', "o": {}, "l": [], "z": None, "b": False}
    rows = processed([Mask({"event.a.secret": "redact"})], [{"a": {"secret": "s", **big}}, {"a": 1}])
    assert json.loads(rows[0]["event"]["a"]) == {"secret": "[redacted]", **big}
    assert "123456789012345678901234567890" in rows[0]["event"]["a"]


def test_a_number_column_stays_one_under_pii_and_its_cards_are_marked() -> None:
    events = [{"n": int(CARD), "l": [1, 2]}, {"n": 1700000000123, "l": [int(CARD)]}, {"n": 5, "l": None}]
    rows = processed([Mask({"event.*": "pii"})], events)
    assert [row["event"]["n"] for row in rows] == [None, 1700000000123, 5]
    assert [row["event"]["l"] for row in rows] == [[1, 2], None, None]
    assert rows[0]["_extra"] == '"event.n":"[card]"'
    assert rows[1]["_extra"] is None


def test_a_mask_sees_what_the_steps_before_it_made() -> None:
    steps = [Set({"event.copy.card": "event.card", "event.all": "event"}), Mask({"event.*": "last4"})]
    rows = processed(steps, [{"card": CARD}, {"card": 5}])
    assert CARD not in str(rows)


def test_metadata_and_nulls_are_masked_as_events_are() -> None:
    whole = {"source": "s", "event": {"a": None, "b": "x"}, "metadata": {"ip": "203.0.113.9"}}
    (row,) = processed([Mask({"metadata.*": "pii", "event.a": "redact", "event.gone": "hash"})], [whole], whole=True)
    assert row["metadata"] == {"ip": "[ip]"}
    assert row["event"] == {"b": "x"}


SECRET = "4111111111111111"
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(-2, 2),
    st.sampled_from(["x", "y z", SECRET, f"at {SECRET}."]),
)
NAMES = st.sampled_from(["card", "Card", "a", "b", "a b", "x.y", "*"])
VALUES = st.recursive(LEAVES, lambda v: st.lists(v, max_size=3) | st.dictionaries(NAMES, v, max_size=3), max_leaves=8)


@settings(max_examples=25)
@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=3), min_size=1, max_size=4), st.sampled_from(["redact", "pii"]))
def test_no_original_survives_whatever_the_shape_of_the_events(events: list[dict[str, Any]], kind: str) -> None:
    unique = [{name: v for name, v in e.items() if name != "Card" or "card" not in e} for e in events]
    rows = processed([Mask({"event.*": kind})], unique)
    assert len(rows) == len(unique)
    assert SECRET not in str(rows)


@pytest.mark.parametrize(
    ("behind", "left"),
    [
        (Filter("event.card = '************1111'"), ["a", "b"]),
        (Filter("event.card = '4111111111111111'"), []),
        (Filter("event.CARD IS NOT NULL AND event.n = 1"), ["a"]),
        (Filter("to_json(event)::VARCHAR NOT LIKE '%411%'"), ["a", "b"]),
        (Sample(rate=1e-12, key="event.n", keep="event.card = '************1111'"), ["a", "b"]),
        (Sample(rate=1e-12, key="event.n", keep="event.card = '4111111111111111'"), []),
    ],
)
def test_what_drops_events_behind_a_mask_sees_what_is_masked(behind: Filter | Sample, left: list[str]) -> None:
    events = [{"card": CARD, "n": 1, "id": "a"}, {"card": CARD, "n": 2, "id": "b"}]
    rows = processed([Mask({"event.card": "last4"}), behind], events)
    assert [(row["event"]["id"], row["event"]["card"]) for row in rows] == [(one, "************1111") for one in left]


def test_no_event_is_masked_that_is_dropped_behind_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(functions, "mask_pii", lambda text: seen.append(text) or "[masked]")
    steps = [Mask({"event.note": "pii"}), Filter("event.n = 1"), Sample(rate=1.0, key="event.n")]
    (row,) = processed(steps, [{"note": "to a@b.example", "n": 1}, {"note": "to c@d.example", "n": 2}])
    assert row["event"]["note"] == "[masked]"
    assert seen == ["to a@b.example"]
