"""A stream whose events look alike is checked by their shape, and no event comes to anything else for that."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import events
from gateway.answers import Refusal
from gateway.events import Events, read_events
from gateway.shapes import Shape

LIKE = {
    "timestamp": "2025-02-12T14:32:15Z",
    "source": "shop",
    "event": {"id": "a1", "paid": True, "amount": 1.5, "count": 3, "user": {"name": "x"}},
    "metadata": {"env": "prod"},
}


def text(event: Any) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


def like(**fields: Any) -> dict[str, Any]:
    """An event like LIKE, with these fields of `event` or, as None, without."""
    changed = {name: value for name, value in (LIKE["event"] | fields).items() if value is not None}  # type: ignore[operator]
    return LIKE | {"event": changed}


def known(*bodies: bytes) -> Shape:
    """The shape of a stream that these bodies have come to, each so often that it is learned from if that is needed."""
    shape = Shape()
    for number, body in enumerate(bodies):
        for _ in range(16 << number):
            read_events(body, ndjson=True, shape=shape)
    return shape


def outcome(body: bytes, shape: Shape | None) -> Events | tuple[Any, ...]:
    try:
        return read_events(body, ndjson=True, shape=shape)
    except Refusal as refusal:
        return refusal.error, refusal.detail, refusal.bad


def proven(body: bytes, shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test where the shape does not prove the body good."""
    monkeypatch.setattr(events, "_good", lambda _: pytest.fail("the shape was not known"))
    assert read_events(body, ndjson=True, shape=shape).lines is body


def test_events_that_look_like_those_before_are_known_by_their_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = known(text(LIKE))
    more = [like(id=f"a{n}", amount=n, count=-n, paid=n % 2 == 0, user={"name": "é\\u00e9"}) for n in range(500)]
    proven(b"\n".join(map(text, more)), shape, monkeypatch)
    proven(text(like(id="http://a:1/b")), shape, monkeypatch)
    assert read_events(text(LIKE), ndjson=False, shape=shape).count == 1


def test_what_is_null_or_missing_at_times_is_known_too(monkeypatch: pytest.MonkeyPatch) -> None:
    varied = [like(), like(id=None), like(amount="much"), like(new=1), like(new="text"), LIKE | {"source": "other"}]
    varied += [{**like(), "event": {**like()["event"], "count": None}}, {k: LIKE[k] for k in LIKE if k != "timestamp"}]
    lines = b"\n".join(map(text, varied))
    proven(lines, known(lines), monkeypatch)


def test_a_shape_widens_by_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = known(text(LIKE), text(like(new="text")))
    proven(text(like(new="text")), shape, monkeypatch)
    proven(text(like()), shape, monkeypatch)


@pytest.mark.parametrize(
    "tampered",
    [
        b'"id":"a1","id":"a2"',
        b'"id":"a1","id":1',
        b'"id":"a1" ,\t"id" : "a1"',
        b'"id":"a1","\\u0069d":"a1"',
        b'"id":"a1","count":3',
        b'"id":"a1","user":{"name":"x"}',
        b'"id":"a1","user":{"name":"x","name":"y"}',
        b'"id":"a1"},"event":{"id":"a1"',
    ],
)
def test_a_key_that_comes_twice_is_never_missed(tampered: bytes) -> None:
    body = text(LIKE).replace(b'"id":"a1"', tampered)
    assert body != text(LIKE)
    lines = b"\n".join([text(LIKE), body, text(LIKE)])
    assert outcome(lines, known(text(LIKE))) == outcome(lines, None)
    written = outcome(lines, None)
    assert not isinstance(written, Events) or written.lines != lines


@pytest.mark.parametrize(
    ("was", "instead"),
    [
        (b'"source":"shop"', b'"source":""'),
        (b'"source":"shop"', b'"source":null'),
        (b"14:32:15Z", b"25:00:00Z"),
        (b"2025-02-12T14:32:15Z", b"0001-01-01T00:00:00+01:00"),
        (b'"metadata":{"env":"prod"}', b'"metadata":[]'),
        (b'"count":3', b'"count":03'),
        (b'"count":3', b'"count":1e999'),
        (b'"count":3', b'"count":' + b"[" * 150 + b"]" * 150),
        (b'"id":"a1"', b'"id":"\xff"'),
        (b'"id":"a1"', b'"id":"\\ud800"'),
        (b'"id":"a1"', b'"id":"a1",'),
        (b'"id":"a1"', b'"id":\n"a1"'),
        (b'"id":"a1"', b'"id":\r"a1"'),
        (b'"paid":true', b'"paid":tru'),
        (b'{"env":"prod"}}', b'{"env":"prod"}}' * 2),
        (b'"metadata"', b'"timestamp":"2025-02-12T14:32:15Z","metadata"'),
    ],
)
def test_what_is_wrong_is_refused_as_before(was: bytes, instead: bytes) -> None:
    body = text(LIKE).replace(was, instead)
    assert body != text(LIKE)
    for lines in (body, b"\n".join([text(LIKE), body]), b"\n".join([body, text(LIKE)]), body + text(LIKE)):
        assert outcome(lines, known(text(LIKE))) == outcome(lines, None)


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('a:"é\\')
)
EVENT = st.dictionaries(st.sampled_from(["a", "b", 'c"', "d\n"]), SCALARS | st.dictionaries(st.just("n"), SCALARS))
BODIES = st.lists(
    st.fixed_dictionaries({"source": st.just("s"), "event": EVENT}, optional={"other": SCALARS}), min_size=1, max_size=3
)


@given(st.lists(BODIES, min_size=2, max_size=6), st.booleans(), st.data())
def test_any_bodies_one_after_another(bodies: list[list[Any]], escaped: bool, data: st.DataObject) -> None:
    shape = Shape()
    for body in bodies:
        texts = [json.dumps(event, ensure_ascii=escaped) for event in body]
        if data.draw(st.booleans()):
            texts = [one.replace("{", '{"a": 1, ', data.draw(st.integers(0, 3))) for one in texts]
        lines = "\n".join(texts).encode()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gateway.shapes._FIRST", 1)
            assert outcome(lines, shape) == outcome(lines, None)


def test_a_stream_of_ever_new_shapes_is_given_up_at_little_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Shape()
    looked_at: list[bytes] = []
    monkeypatch.setattr("gateway.shapes._decode", lambda line: looked_at.append(line) or json.loads(line))
    for number in range(2_000):
        read_events(text(like(**{f"new{number}": "x"})), ndjson=True, shape=shape)
    assert 0 < len(looked_at) <= 8  # of 2,000: the 16th, 32nd, 64th, …
    assert shape.good(text(LIKE)) is None


@pytest.mark.parametrize("value", [[1], ["a"], [{"a": 1}], {"a": []}])
def test_arrays_are_not_known(value: Any) -> None:
    body = text(like(list=value))
    assert known(body, body, body).good(body) is None
    assert outcome(body, known(body)) == outcome(body, None)
