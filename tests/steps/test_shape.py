"""Whether events fit a shape is one decision, however a batch is cut, and a learned shape fits all that it was learned from."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.engine import open_engine
from flows.shape import Shape, Unreadable, first_misfit, fit, learn
from flows.structures import Structures

ENGINE = open_engine()
LISTED = Structures(ENGINE)
KEYS = st.sampled_from(["a", "b", "A", "a.b", "ключ", 'q"uote', "back\\slash", "", "x y", "event"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, 1.5, -0.0, 1e300, 5e-324]),
    st.sampled_from(
        ["", "NaN", "Infinity", "null", "1", "2025-01-01T00:00:00Z", '"', "\\", "\n", "\u0000", "😀", "a" * 300]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)
EVENTS = st.fixed_dictionaries(
    {"source": st.just("s"), "event": st.dictionaries(KEYS, VALUES, max_size=4)},
    optional={"metadata": st.dictionaries(KEYS, VALUES, max_size=2), "other": SCALARS},
)
LINES = st.lists(st.tuples(EVENTS, st.sampled_from([(",", ":"), (", ", ": ")])), min_size=1, max_size=12).map(
    lambda drawn: [json.dumps(event, separators=style) for event, style in drawn]
)
ODD = st.sampled_from(
    [
        '{"source":"s","event":{"a":1,"a":"x"}}',
        '{"source":"s","event":{"\\u0061":2}}',
        '{"source":"s","event":{"a":1e400}}',
        '{"source":"s","event":{"a":NaN}}',
        '{"source":"s"}',
        "[]",
        '{"source":"s","event":{"a":1}',
        '{"source":1,"event":{}}',
        '{"source":"s","event":{},"metadata":null}',
        '{"source":"s","event":' + '{"a":' * 40 + "1" + "}" * 40 + "}",
    ]
)


def decided(shape: Shape, lines: list[str]) -> Any:
    try:
        return first_misfit(shape, "\n".join(lines).encode())
    except Unreadable:
        return "unreadable"


def learned(lines: list[str]) -> Shape | None:
    try:
        return learn(Shape(), pa.chunked_array([lines], pa.string()), "\n".join(lines).encode(), LISTED, {})
    except Unreadable:
        return None


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(known=LINES, lines=st.lists(st.one_of(LINES, ODD.map(lambda line: [line])), min_size=1, max_size=4))
def test_a_batch_fits_or_does_not_however_it_is_cut(
    monkeypatch: pytest.MonkeyPatch, known: list[str], lines: list[list[str]]
) -> None:
    flat = [line for part in lines for line in part]
    shape = learned(known) or Shape()
    found = []
    for size in (1, 200, 1_000_000):
        monkeypatch.setattr(fit, "_PIECE", size)
        found.append(decided(shape, flat))
    assert found[0] == found[1] == found[2]
    one_by_one = [decided(shape, [line]) for line in flat]
    first = next((place for place, fate in enumerate(one_by_one) if fate is not None), None)
    if first is None or one_by_one[first] == "unreadable":
        assert found[0] == (None if first is None else "unreadable")
    else:
        assert found[0].row == first


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(lines=LINES)
def test_what_was_learned_fits_all_that_it_was_learned_from_and_learns_nothing_more(lines: list[str]) -> None:
    shape = learned(lines)
    assert shape is not None
    assert decided(shape, lines) is None
    again = learn(shape, pa.chunked_array([lines], pa.string()), "\n".join(lines).encode(), LISTED, {})
    assert again == shape


def test_a_field_that_only_the_last_of_many_events_has_becomes_known() -> None:
    lines = [json.dumps({"source": "s", "event": {"a": number}}) for number in range(3_000)]
    shape = learned([*lines, '{"source":"s","event":{"late":{"x":1.5}}}'])
    assert shape is not None
    assert set(shape.event.fields) == {"a", "late"}
    assert not shape.event.open
