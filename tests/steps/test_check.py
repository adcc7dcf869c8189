"""Expressions that are refused before any event is seen."""

from __future__ import annotations

import pytest

from flows.expression import InvalidExpression, check, compile_expression


@pytest.mark.parametrize(
    "text",
    [
        "",
        "event.a =",
        "event.a, event.b",
        "event.a AS b",
        "event.a FROM range(10)",
        "(SELECT 1)",
        "event.a IN (SELECT 1)",
        "EXISTS (SELECT * FROM read_csv('/etc/passwd'))",
        "read_csv('/etc/passwd')",
        "read_text('/etc/passwd')",
        "'; DROP TABLE events",
        "1; DROP TABLE events",
        "1; COPY (SELECT 1) TO '/tmp/x'",
        "ATTACH '/tmp/x.db'",
        "PRAGMA version",
        "INSTALL httpfs",
        "getenv('HOME')",
        "current_setting('threads')",
        "getvariable('x')",
        "random() < 0.5",
        "uuid()",
        "now()",
        "current_timestamp > timestamp",
        "today()",
        "age(timestamp)",
        "nextval('s')",
        "hash(event.a)",
        "repeat(repeat('x', 10000), 10000)",
        "range(1000000000)",
        "generate_series(1, 1000000000)",
        "list_resize([1], 1000000000)",
        "printf('%*d', event.n, 1)",
        "format('{:1000000000}', 1)",
        "list_reduce(event.l, (a, b) -> a || a)",
        "event.a LIKE 'x' ESCAPE event.b",
        "pg_sleep(10)",
        "sleep_ms(100000)",
        "count(*) > 1",
        "sum(event.a)",
        "row_number() OVER ()",
        "sum(event.a) OVER ()",
        "*",
        "event.*",
        "COLUMNS('a')",
        "$1",
        "?",
        "#1",
        "unnest(event.l)",
        "(" * 5000 + "1" + ")" * 5000,
        "1" + " + 1" * 5000,
        "'" + "x" * 100_001 + "'",
    ],
)
def test_it_is_refused_with_a_sentence(text: str) -> None:
    problems = check(text)
    assert problems
    assert all(problem.message for problem in problems)
    with pytest.raises(InvalidExpression):
        compile_expression(text, {})


@pytest.mark.parametrize(
    ("text", "offset", "suggestion"),
    [
        ("status = 'ok'", 0, "did you mean 'event.status'?"),
        ("evnt.status = 'ok'", 0, "did you mean 'event.status'?"),
        ("event.a = 1 AND lowr(event.b) = 'x'", 16, "did you mean 'lower'?"),
        ("event.a > now()", 10, "use received_at: a replay must give the same rows"),
        ("event.a::INTEGR", 7, "did you mean 'INTEGER'?"),
        ("'é' = status", 6, "did you mean 'event.status'?"),
    ],
)
def test_a_slip_is_pointed_at_and_a_remedy_named(text: str, offset: int, suggestion: str) -> None:
    (problem,) = check(text)
    assert (problem.offset, problem.suggestion) == (offset, suggestion)


def test_every_problem_is_reported() -> None:
    assert len(check("status = 1 AND now() > timestamp AND sum(event.a) > 1")) == 3


@pytest.mark.parametrize(
    "text",
    [
        "event.status IS DISTINCT FROM 'healthcheck'",
        "event.amount * 1.08",
        "coalesce(metadata.region, 'eu')",
        "event.a -- the end",
        "event.a LIKE '50!%' ESCAPE '!'",
        "regexp_replace(event.a, '[0-9]', '#', 'g')",
        "list_transform(event.l, x -> list_filter(x.l, y -> y > 1))",
        "Timestamp > received_at - INTERVAL '1 day'",
        "repeat('*', length(event.card) - 4)",
        "event.a::DECIMAL(18,2)[]",
        "sha256(event.id || source || stream || event_id)",
    ],
)
def test_what_an_event_can_answer_is_accepted(text: str) -> None:
    assert check(text) == []
