"""What `check` says of a `sample` step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.config import Problem, check, load
from flows.steps import Dynamic, Per, Sample, Step, has_memory

ID = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"
Problems = Callable[..., list[Problem]]


def step(text: str) -> str:
    return f"streams:\n  web:\n    id: {ID}\n    steps:\n      - sample: {text}\n"


@pytest.mark.parametrize(
    ("text", "expected", "memory"),
    [
        ("{rate: 0.5}", Sample(0.5), False),
        ("{per: {key: event.user, events_per_second: 5}}", Sample(per=Per(5, "event.user")), True),
        ("{per: {events_per_second: 0.2}, keep: event.x}", Sample(keep="event.x", per=Per(0.2)), True),
        ("{dynamic: {key: event.p, target_per_second: 9}}", Sample(dynamic=Dynamic(9, "event.p")), True),
    ],
)
def test_a_step_is_read_as_it_is_written(write: Callable[[str], Path], text: str, expected: Step, memory: bool) -> None:
    (read,) = load(write(step(text))).streams["web"].steps
    assert (read, has_memory(read)) == (expected, memory)


@pytest.mark.parametrize(
    ("text", "path", "message", "suggestion"),
    [
        ("{keep: event.x}", "", "missing: 'rate', 'per' or 'dynamic'", "rate: 0.1"),
        ("{rate: 0.1, per: {events_per_second: 5}}", "per", "exclude each other", "keep one"),
        (
            "{per: {events_per_second: 5}, dynamic: {key: source, target_per_second: 9}}",
            "dynamic",
            "exclude each other",
            "keep one",
        ),
        ("{key: event.a, per: {events_per_second: 5}}", "key", "'key' belongs to 'rate'", "per: {key:"),
        ("{per: {key: event.a}}", "per", "missing: 'events_per_second'", ""),
        ("{per: {key: event.a, events_per_second: 0}}", "per.events_per_second", "too small", ""),
        ("{per: {key: nonsense, events_per_second: 1}}", "per.key", "no field of an event", "event.nonsense"),
        ("{dynamic: {target_per_second: 9}}", "dynamic", "missing: 'key'", ""),
        ("{dynamic: {key: count(*), target_per_second: 9}}", "dynamic.key", "over many events", ""),
        ("{dynamic: {key: source, target_per_sec: 9}}", "dynamic.target_per_sec", "unknown key", "target_per_second"),
    ],
)
def test_a_mistake_is_told_at_its_place(
    problems: Problems, text: str, path: str, message: str, suggestion: str
) -> None:
    found = problems(step(text))
    at = "streams.web.steps[0].sample" + (f".{path}" if path else "")
    assert [one for one in found if one.path == at and message in one.message and suggestion in (one.suggestion or "")]


def test_a_key_that_no_event_of_the_sample_has_is_told(write: Callable[[str], Path]) -> None:
    file = write(step("{per: {key: event.usr, events_per_second: 5}}"))
    found = check(file, samples={"web": frozenset({("event", "user")})})
    assert [(one.path, one.suggestion) for one in found] == [
        ("streams.web.steps[0].sample.per.key", "did you mean 'event.user'?")
    ]
