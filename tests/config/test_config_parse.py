"""What `check` says of a `parse` step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.config import Problem, load
from flows.steps import Parse

ID = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"
Problems = Callable[..., list[Problem]]


def step(text: str) -> str:
    return f"streams:\n  web:\n    id: {ID}\n    steps:\n      - parse: {text}\n"


def test_a_step_is_read_as_it_is_written(write: Callable[[str], Path]) -> None:
    text = '{field: event.message, as: grok, pattern: "%{COMBINEDAPACHELOG}", into: event.http, on_error: dead_letter}'
    (read,) = load(write(step(text))).streams["web"].steps
    assert read == Parse(
        field="event.message", as_="grok", pattern="%{COMBINEDAPACHELOG}", into="event.http", on_error="dead_letter"
    )


@pytest.mark.parametrize(
    ("text", "path", "message", "suggestion"),
    [
        (
            '{field: event.m, as: grok, pattern: "%{COMBINDAPACHELOG}"}',
            "pattern",
            "unknown pattern",
            "COMBINEDAPACHELOG",
        ),
        ('{field: event.m, as: grok, pattern: "%{A}", patterns: {A: "%{A}"}}', "pattern", "circle", ""),
        ("{field: event.m, as: grok}", "", "missing: 'pattern'", "pattern"),
        ('{field: event.m, as: grok, pattern: "%{IP}"}', "pattern", "captures nothing", ""),
        ('{field: event.m, as: grok, pattern: "%{IP:ip:ipaddress}"}', "pattern", "unknown type 'ipaddress'", ""),
        ("{field: event.m, as: regex, pattern: '(?<a>x'}", "pattern", "not a regular expression", ""),
        ("{field: event.m, as: csv}", "", "missing: 'columns'", "columns"),
        ("{field: event.m, as: csv, columns: [a, b, a]}", "columns[2]", "named twice", ""),
        ("{field: event.m, as: csv, columns: [a], delimiter: '::'}", "delimiter", "one character", ""),
        ("{field: event.m, as: json, pattern: x}", "pattern", "says nothing about json", "leave it out"),
        ("{field: event.m, as: jsn}", "as", "'jsn' is none of", "json"),
        ("{field: event.m, as: json, on_error: skip}", "on_error", "'skip' is none of", ""),
        ("{field: event.m, as: json, into: timestamp}", "into", "only a parse as timestamp", ""),
        ("{field: event.m, as: json, into: source}", "into", "holds no parts", ""),
        ("{field: event, as: json}", "field", "is an object", "event.message"),
        ('{field: "event.*", as: json}', "field", "'*' cannot stand here", ""),
        ("{field: event.m, as: timestamp, format: ISO}", "format", "no format of a time", ""),
        ('{field: event.m, as: timestamp, format: "%Q"}', "format", "no format of strptime", ""),
        ("{field: event.m, as: timestamp, timezone: Mars/Base}", "timezone", "unknown time zone", ""),
        ("{field: event.m, as: json, intoo: event.x}", "intoo", "unknown key", "into"),
    ],
)
def test_a_mistake_is_told_at_its_place(
    problems: Problems, text: str, path: str, message: str, suggestion: str
) -> None:
    found = problems(step(text))
    assert [(p.path, p.severity) for p in found] == [
        (f"streams.web.steps[0].parse{'.' if path else ''}{path}", "error")
    ]
    assert message in found[0].message
    assert suggestion in (found[0].suggestion or "")
    assert found[0].line == 5


@pytest.mark.parametrize("pattern", [r"(?<a>\w+)(?=x\w)", r"(?<a>\w)\1", "(?>(?<a>a|ab))c", r"(?<!ab)(?<a>\d)"])
def test_a_pattern_that_must_backtrack_is_a_warning(problems: Problems, pattern: str) -> None:
    (found,) = problems(step(f"{{field: event.m, as: regex, pattern: '{pattern}'}}"))
    assert found.severity == "warning"
    assert "slower" in found.message


@pytest.mark.parametrize(
    "pattern",
    [
        "COMBINEDAPACHELOG",
        "COMMONAPACHELOG",
        "SYSLOGBASE",
        "SYSLOGLINE",
        "HTTPD_ERRORLOG",
        "CATALINALOG",
        "TOMCATLOG",
        "CRONLOG",
        "JAVASTACKTRACEPART",
    ],
)
@pytest.mark.parametrize("captures", ["disabled", "v1"])
def test_the_patterns_of_the_library_are_fast(problems: Problems, pattern: str, captures: str) -> None:
    text = f'{{field: event.m, as: grok, pattern: "%{{{pattern}}}", ecs_compatibility: {captures}}}'
    assert problems(step(text)) == []
