"""Whatever the events, each of their values is in its column exactly, or in `_rescued` under its path, and no row is lost."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, example, given, settings

from connectors.columns import dotted
from tests.sinks.tables import STREAM, Dataflow, read_table, rescued

Event = dict[str, Any]

NUMBERS = [
    0,
    -1,
    1,
    2**31,
    2**53 - 1,
    2**53,
    2**53 + 1,
    -(2**53) - 1,
    2**63 - 1,
    2**63,
    -(2**63),
    -(2**63) - 1,
    2**64,
    10**25,
]
FRACTIONS = [
    0.1,
    2.0,
    2.5,
    -0.0,
    1e300,
    5e-324,
    1e16,
    9007199254740993.0,
    1.7976931348623157e308,
    1e22,
    0.30000000000000004,
]
TEXTS = [
    "",
    "x",
    '"',
    "'",
    "\\",
    "\x00",
    "a\nb",
    "🙂",
    '":null',
    "null",
    "true",
    "5",
    "5.0",
    "2025-02-12",
    "2025-02-12T14:32:15Z",
]
TEXTS += ["{}", '{"a":1}', "[]", " ", "$.a", "é", "\u2028", "{'a': 1}", '"quoted"']
KEYS = [
    "a",
    "b",
    "A",
    "",
    "we ird",
    "d.o",
    'q"q',
    "b\\s",
    "é",
    "É",
    "¼",
    "²",
    "key",
    "value",
    "element",
    "event",
    "source",
    "_offset",
    "select",
]
KEYS += [
    "_extra",
    "k'k",
    "a.b",
    "entries",
    "$",
    "*",
    "0",
    "[0]",
    "date",
    "s",
    "line",
    "\n",
    "🙂",
    "a\x00b",
    "_rescued",
    "ß",
    "_",
]

scalars = st.one_of(
    st.none(), st.booleans(), st.sampled_from(NUMBERS), st.sampled_from(FRACTIONS), st.sampled_from(TEXTS),
    st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)  # fmt: skip
keys = st.sampled_from(KEYS[:4]) | st.sampled_from(KEYS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)
objects = st.dictionaries(keys, values, max_size=4)
others = st.dictionaries(
    keys.filter(lambda key: key not in ("source", "event", "timestamp", "metadata")), values, max_size=1
)
events = st.builds(
    lambda event, metadata, other: {"source": "s", "event": event, **({"metadata": metadata} if metadata else {}), **other},
    objects, st.just({}) | objects, st.just({}) | others,
)  # fmt: skip
batches = st.lists(st.lists(events, min_size=1, max_size=4), min_size=1, max_size=4)

ALIKE = settings(suppress_health_check=list(HealthCheck))


@given(batches)
@example([[{"source": "s", "event": {"a": [{"a\x00b": False}]}}]])
@settings(ALIKE, max_examples=60)
def test_every_value_is_in_its_column_exactly_or_rescued_whole(batches: list[list[Event]]) -> None:
    with tempfile.TemporaryDirectory() as lake:
        dataflow = Dataflow(lake)
        sent: dict[str, Event] = {}
        for batch in batches:
            sent.update(zip(dataflow.take(batch), batch, strict=True))
        assert_nothing_is_lost(sent, read_table(f"{lake}/{STREAM}"))


@given(
    st.lists(events, min_size=1, max_size=4),
    st.lists(events, min_size=1, max_size=4),
    st.lists(events, min_size=1, max_size=4),
)
@settings(ALIKE, max_examples=30)
def test_dataflows_that_learned_different_types_share_a_table(
    first: list[Event], second: list[Event], third: list[Event]
) -> None:
    with tempfile.TemporaryDirectory() as lake:
        one, two = Dataflow(lake), Dataflow(lake)
        sent: dict[str, Event] = {}
        sent.update(zip(one.take(first, partition=0), first, strict=True))
        sent.update(zip(two.stage(second, partition=1), second, strict=True))
        sent.update(zip(one.stage(third, partition=0), third, strict=True))
        two.commit()
        one.commit()
        restarted = Dataflow(lake)
        restarted.take(first, partition=0, offset=0)
        sent.update(zip(restarted.take(second, partition=0, offset=2), second, strict=True))
        assert_nothing_is_lost(sent, read_table(f"{lake}/{STREAM}"))


def assert_nothing_is_lost(sent: dict[str, Event], rows: list[dict[str, Any]]) -> None:
    assert sorted(row["event_id"] for row in rows) == sorted(sent)
    for row in rows:
        event, members = sent[row["event_id"]], rescued(row)
        expected = {name: value for name, value in event.items() if name not in ("source", "timestamp")}
        known = dict(_leaves(expected, ()))
        for path, value in known.items():
            held = _column(row, path) if path[0] in ("event", "metadata") else None
            kept = _rescued_at(members, path)
            assert (held is not None) or kept, f"{dotted(path)}={value!r} is nowhere: {row}"
            assert held is None or alike(held, value), f"{dotted(path)} is {held!r}, not {value!r}"
            assert all(same_json(found, value) for found in kept), f"{dotted(path)} rescued as {kept!r}, not {value!r}"
        columns = {root: row[root] for root in ("event", "metadata") if row.get(root) is not None}
        for path, held in _leaves(columns, ()):
            assert path in known, f"{dotted(path)}={held!r} was never sent: {event}"
        paths = {dotted(path) for path in _paths(expected, ())}
        assert members.keys() <= paths, f"rescued what was never sent: {members.keys() - paths}"


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        for name, child in value.items():
            yield from _leaves(child, (*path, name))
    elif value is not None:
        yield path, value


def _paths(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(value, dict):
        for name, child in value.items():
            yield from _paths(child, (*path, name))


def _column(row: dict[str, Any], path: tuple[str, ...]) -> Any:
    held: Any = row
    for part in path:
        held = held.get(part) if isinstance(held, dict) else None
    return None if isinstance(held, dict) else held


def _rescued_at(members: dict[str, Any], path: tuple[str, ...]) -> list[Any]:
    found = []
    for length in range(1, len(path) + 1):
        if dotted(path[:length]) in members:
            held = members[dotted(path[:length])]
            for part in path[length:]:
                held = held.get(part) if isinstance(held, dict) else None
            if (
                held is not None
            ):  # an object is rescued without the keys that no column can have: they have paths of their own
                found.append(held)
    return found


def alike(held: Any, sent: Any) -> bool:
    """Equal, where a column may hold: fields of a list's objects that are absent or null are one to a table."""
    if isinstance(held, list) and isinstance(sent, list):
        return len(held) == len(sent) and all(map(alike, held, sent))
    if isinstance(held, dict) and isinstance(sent, dict):
        names = {name for name, value in [*held.items(), *sent.items()] if value is not None}
        return all(alike(held.get(name), sent.get(name)) for name in names)
    if held is None or sent is None:
        return (held or {}) == {} and (sent or {}) == {} if isinstance(held or sent, dict) else held is sent
    return isinstance(held, bool) == isinstance(sent, bool) and held == sent


def same_json(held: Any, sent: Any) -> bool:
    return json.dumps(held, sort_keys=True) == json.dumps(sent, sort_keys=True) or alike(held, sent)
