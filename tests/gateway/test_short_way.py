"""Bodies that need no look are taken whole: the short way never decides otherwise than the walk over each event."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import events
from gateway.answers import Refusal
from gateway.events import Events, read_events
from gateway.shapes import Shape

GOOD = b'{"source":"a","event":{"n":1}}'
TIMED = b'{"source":"a","event":{"n":1},"timestamp":"%s"}'
DEEP = b'{"source":"a","event":%s1%s}'


def outcome(body: bytes, *, ndjson: bool, shape: Shape | None = None) -> Events | tuple[Any, ...]:
    try:
        return read_events(body, ndjson=ndjson, shape=shape)
    except Refusal as refusal:
        return refusal.error, refusal.detail, refusal.bad


def members(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    assert len(dict(pairs)) == len(pairs), "a key is there twice"
    return pairs


def outcomes(body: bytes, *, ndjson: bool) -> list[Any]:
    """What comes of a body by each way: as few events go and as many do, by what was learned of it, and where every event
    is looked at.

    Lines as values, since blanks may differ.
    """
    found: list[Any] = []
    shape = Shape()
    ways: list[tuple[str, Any, Shape | None]] = [
        ("_MANY", 1000, shape),
        ("_MANY", 1, shape),
        ("_MANY", 1, shape),
        ("_need_no_look", lambda *_: 0, None),
    ]
    for name, instead, known in ways:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(events, name, instead)
            patch.setattr("gateway.shapes._FIRST", 1)
            one = outcome(body, ndjson=ndjson, shape=known)
        if isinstance(one, Events):
            lines = [json.loads(line, object_pairs_hook=members) for line in one.lines.split(b"\n")]
            assert len(lines) == one.count
            assert b"\r" not in one.lines
            found.append((one.count, one.batch, lines))
        else:
            found.append(one)
    return found


@pytest.mark.parametrize(
    "body",
    [
        GOOD + b"\n" + GOOD,
        b" \n" + GOOD + b"\n\n" + GOOD + b"\n",
        GOOD + b"\r\n" + GOOD + b"\r\n",
        GOOD + GOOD,
        GOOD + b" " + GOOD + b"\n" + b'{"source":"a",\n"event":{}}',
        GOOD + GOOD + b'\n{"source":"a","event":{}\n}',
        b'{"source":"a","event":{}\n}' + GOOD,
        b'{"source":"a","event":{"a":{}\n,"b":{}}}' + GOOD,
        b'{"source":"a","event":{"x":"}\n{"}}',
        b'{"source":"a","event":{"n":1,"n":2}}',
        b'{"source":"a","source":"b","event":{}}',
        b'{"source":"a","event":{"n" :1,"n":2}}',
        b'{"source":"a","event":{"n"\t:1,"n"\t:2}}',
        b'{"source":"a","event":{},"metadata":{"n":1,"n":2}}',
        b'{"source":"a","event":{},"metadata":{},"metadata":{}}',
        b'{"source":"a","event":{},"timestamp":"2025-02-12T14:32:15Z","timestamp":"2025-02-12T14:32:16Z"}',
        b'{"source":"a","event":{"a":[{"n":1,"n":2}]}}',
        b'{"source":"a","event":{"n":1,"n":2}}\n' + GOOD,
        GOOD + b'\n{"source":"a","event":{"n":1,"n":{"n":3}}}',
        b'{"source":"a","event":{"a":{"n":1,"n":2}}}',
        b'{"source":"a","event":{"n":1,"n":"\\u003a"}}',
        b'{"source":"a","event":{"n":1,"\\u006e":"\\u003A"}}',
        b'{"source":"a","event":{"a\\":":1,"b":":::"}}',
        b'{"source":"a","event":{"a:":1,"a:":2}}',
        b'{"source":"a","event":{},"other":{"n":1,"n":2}}',
        b'{"source":"a","event":{},"other":"kept"}',
        b'{"source":"a","event":{"n":1,"n":2},"timestamp":"2025-02-12T14:32:15+0100"}',
        TIMED % b"2025-02-12T14:32:15Z",
        TIMED % b"2025-02-12T14:32:15+00:00",
        TIMED % b"20250212T143215Z",
        TIMED % b"2025-02-12",
        TIMED % b"0001-01-01T00:00:00+01:00",
        TIMED % b"9999-12-31T23:59:59-01:00",
        TIMED % b"yesterday",
        DEEP % (b'{"a":' * 99, b"}" * 99),
        DEEP % (b'{"a":' * 100, b"}" * 100),
        DEEP % (b'{"a":' + b"[" * 98, b"]" * 98 + b"}"),
        DEEP % (b'{"a":' + b"[" * 99, b"]" * 99 + b"}"),
        DEEP % (b'{"a":"' + b"[" * 300, b'"}'),
        b'{"source":"","event":{}}',
        b'{"source":"a","event":{},"metadata":null}',
        b'{"source":"a","event":{"x":NaN}}',
        b'{"source":"a","event":{"x":"\\ud800"}}',
        b"",
        b"\n",
        b"[]",
        b"[" + GOOD + b"," + GOOD + b"]",
        b"[" + GOOD + b"," + GOOD.replace(b",", b",\n") + b"]",
        b"[" + GOOD + b"\n," + GOOD + b"]",
        b"[" + GOOD + b"," + GOOD + b",]",
        b"[" + GOOD + b"," + GOOD + b"] " + GOOD,
        b"[[" + GOOD + b"]]",
        b"[" + GOOD + b",1]",
        b'[{"source":"a","event":{"n":1,"n":2}},' + GOOD + b"]",
        b"{",
    ],
)
@pytest.mark.parametrize("ndjson", [True, False])
def test_a_body_comes_to_the_same_either_way(body: bytes, ndjson: bool) -> None:
    few, many, known, walked = outcomes(body, ndjson=ndjson)
    assert few == many == known == walked


TEXTS = st.text(alphabet='a:"{}[],\\\n\r\x00é', max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
EVENTS = st.fixed_dictionaries(
    {"source": TEXTS, "event": st.dictionaries(TEXTS, VALUES, max_size=4)},
    optional={"metadata": VALUES, "timestamp": st.sampled_from(["2025-02-12T14:32:15+01:00", "20250212T1432Z", "x"])},
)


@given(st.lists(EVENTS, min_size=1, max_size=4), st.sampled_from([b"\n", b"", b"\n\n", b" \n"]), st.booleans())
def test_any_events_come_to_the_same_either_way(given_: list[Any], between: bytes, escaped: bool) -> None:
    texts = [json.dumps(event, ensure_ascii=escaped).encode() for event in given_]
    few, many, known, walked = outcomes(between.join(texts), ndjson=True)
    assert few == many == known == walked
    comma = b"," if between.isspace() else b",\n"
    few, many, known, walked = outcomes(b"[" + (comma + between).join(texts) + b"]", ndjson=False)
    assert few == many == known == walked


def test_an_array_of_plain_events_needs_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [msgspec.json.encode({"source": "a", "event": {"n": n, "t": "12:30"}}) for n in range(500)]
    monkeypatch.setattr(events, "_all_good", lambda _: pytest.fail("looked at"))
    assert read_events(b"[" + b",\n ".join(texts) + b"]", ndjson=False) == Events(b"\n".join(texts), 500, batch=True)


def test_plain_events_need_no_look() -> None:
    lines = b"\n".join(msgspec.json.encode({"source": "a", "event": {"n": n, "t": "12:30"}}) for n in range(500))
    assert events._need_no_look(lines, None) == 500
    assert read_events(lines, ndjson=True).lines is lines


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), ("\t,", "\t:")])
def test_of_many_plain_events_keys_are_counted_and_nothing_is_encoded(
    separators: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    event = {"timestamp": "2025-02-12T14:32:15Z", "source": "a:b", "event": {"u": "http://a"}, "metadata": {"x": 1}}
    lines = b"\n".join([json.dumps(event, separators=separators).encode()] * 500)
    monkeypatch.setattr(events, "_no_duplicates", lambda *_: pytest.fail("encoded, to count its colons"))
    assert events._need_no_look(lines, None) == 500
