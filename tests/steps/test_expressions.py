"""Expressions as users write them, over one event whose `event.x` has every type a column can have."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.columns import SYSTEM
from flows.expression import compile_expression

LITERALS = [
    ("event.x > 5", "DOUBLE", "5.5", "true"),
    ("event.x > 5", "VARCHAR", "12", "true"),
    ("event.x > 5", "VARCHAR", "nan", None),
    ("event.x > 5", "VARCHAR", "many", None),
    ("event.x = -5", "VARCHAR", "-5", "true"),
    ("event.x = '5'", "BIGINT", "5", "true"),
    ("event.x = '5'", "DOUBLE", "5", "true"),
    ("event.x = '5'", "JSON", "5", "true"),
    ("event.x = '5'::INT", "VARCHAR", "5", "true"),
    ("event.x = 'abc'", "JSON", '"abc"', "true"),
    ("event.x = 5", "JSON", "5", "true"),
    ("event.x = 5", "JSON", '"5"', "true"),
    ("event.x = 5", "JSON", '{"a":5}', None),
    ("event.x = true", "JSON", "true", "true"),
    ("event.x = true", "VARCHAR", "true", "true"),
    ("event.x = true", "BIGINT", "1", "true"),
    ("event.x = 1", "BOOLEAN", "true", "true"),
    ("event.x IN (1, 'abc')", "VARCHAR", "abc", "true"),
    ("event.x NOT IN (1, 2)", "VARCHAR", "3", "true"),
    ("event.x BETWEEN 1 AND 6", "VARCHAR", "5", "true"),
    ("event.x IS DISTINCT FROM 'gone'", "VARCHAR", None, "true"),
    ("event.x IS DISTINCT FROM 5", "VARCHAR", "many", "true"),
    ("event.x IS NOT DISTINCT FROM NULL", "VARCHAR", None, "true"),
    ("event.x LIKE '4%'", "BIGINT", "404", "true"),
    ("event.x > 9007199254740992", "VARCHAR", "9007199254740993", "true"),
    ("event.x = DATE '2024-05-01'", "VARCHAR", "2024-05-01", "true"),
    ("event.x = DATE '2024-05-01'", "VARCHAR", "yesterday", None),
    ("timestamp >= '2024-01-01'", "VARCHAR", None, "true"),
    ("timestamp > 'soon'", "VARCHAR", None, None),
]


@pytest.mark.parametrize(("expression", "kind", "x", "expected"), LITERALS)
def test_a_comparison_reads_the_path_as_the_type_of_the_literal(
    value_of: Callable[..., Any], expression: str, kind: str, x: str | None, expected: str | None
) -> None:
    assert value_of(expression, kind, x, condition=True) == expected


PATHS = [
    ("event.missing.deep", None),
    ("event.H.M", "GET"),
    ("event['h'].m", "GET"),
    ("(event).h.m", "GET"),
    ("event['a b']", "spaced"),
    ('event."a b"', "spaced"),
    ("event.h", "{'m': GET}"),
    ("event.l[1]", "1"),
    ("event.l[-1]", "2"),
    ("event.x.a.b", "5"),
    ("event.x.l[1].sku", '"q"'),
    ("event.x.l[1].sku = 'q'", "true"),
    ("event.x.nothing IS NULL", "true"),
    ("event.x.gone IS NULL", "true"),
    ("event.x ->> '$.a.b'", "5"),
    ("event.x -> 'a' ->> 'b'", "5"),
    ("event.h ->> 'm'", "GET"),
]


@pytest.mark.parametrize(("expression", "expected"), PATHS)
def test_a_path_finds_what_is_there_and_is_null_otherwise(
    value_of: Callable[..., Any], expression: str, expected: str | None
) -> None:
    assert value_of(expression, "JSON", '{"a":{"b":5},"l":[{"sku":"q"}],"gone":null}') == expected


FORGIVING = [
    ("event.x * 2", "VARCHAR", "4", "8.0"),
    ("event.x + 1", "JSON", "4", "5.0"),
    ("event.x + 1", "VARCHAR", "many", None),
    ("lower(event.x)", "BIGINT", "4", "4"),
    ("upper(event.x)", "JSON", '"abc"', "ABC"),
    ("NOT event.x", "JSON", "true", "false"),
    ("event.x AND event.n = 7", "VARCHAR", "yes", "true"),
    ("coalesce(event.x, 'none')", "BIGINT", None, "none"),
    ("coalesce(event.missing, 'eu')", "BIGINT", None, "eu"),
    ("coalesce(event.x, 0) > 5", "VARCHAR", "9", "true"),
    ("CASE WHEN event.x > 3 THEN 'big' ELSE event.x END", "BIGINT", "1", "1"),
    ("greatest(event.x, 3)", "VARCHAR", "10", "10.0"),
    ("event.x = event.n", "VARCHAR", "7", "true"),
    ("event.x = event.n", "JSON", "7", "true"),
    ("event.x || '-' || event.n", "DOUBLE", "5", "5-7"),
    ("lpad(event.x, 5, '0')", "BIGINT", "3", "00003"),
    ("repeat('*', event.x)", "BIGINT", "-1", ""),
    ("date_trunc('hour', event.x)", "VARCHAR", "2024-01-01T05:30:00Z", "2024-01-01 05:00:00+00"),
    ("timestamp - INTERVAL 5 MINUTE", "VARCHAR", None, "2024-04-30 23:55:00+00"),
    ("extract(year FROM timestamp)", "VARCHAR", None, "2024"),
    ("list_transform(event.l, x -> x * event.n)", "VARCHAR", None, "[7, 14]"),
    ("[v FOR v IN event.l IF v > 1]", "VARCHAR", None, "[2]"),
    ("list_filter(event.l, lambda v: v < event.n)", "VARCHAR", None, "[1, 2]"),
]


@pytest.mark.parametrize(("expression", "kind", "x", "expected"), FORGIVING)
def test_a_value_of_another_type_is_read_as_what_the_function_takes(
    value_of: Callable[..., Any], expression: str, kind: str, x: str | None, expected: str | None
) -> None:
    assert value_of(expression, kind, x) == expected


@pytest.mark.parametrize(
    ("expression", "kind", "x"),
    [
        ("event.x::INT", "VARCHAR", "many"),
        ("9223372036854775807 + event.x", "BIGINT", "1"),
        ("event.x // 0", "BIGINT", "1"),
        ("regexp_matches('a', event.x)", "VARCHAR", "("),
        ("strptime(event.x, '%Y')", "VARCHAR", "soon"),
        ("regexp_matches(event.x, '(')", "VARCHAR", "a"),
        ("event.x.a.b", "BIGINT", "1"),
    ],
)
def test_what_fails_for_an_event_is_null_for_it(
    value_of: Callable[..., Any], expression: str, kind: str, x: str
) -> None:
    assert value_of(expression, kind, x) is None


def test_an_expression_that_fits_no_type_says_so() -> None:
    compiled = compile_expression("list_sum(event.l)", {**SYSTEM, ("event", "l"): "VARCHAR"})
    assert compiled.sql == "NULL"
    assert compiled.warning is not None
    assert compiled.warning.startswith("list_sum(event.l): ")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    x=st.integers(-(10**6), 10**6) | st.text("abc5 '\"", max_size=4) | st.booleans(),
    operator=st.sampled_from(["=", "<>", "<", ">="]),
    text=st.text("abc5 '\"", max_size=3),
)
def test_json_compares_with_text_as_its_scalar_text(
    value_of: Callable[..., Any], x: int | str | bool, operator: str, text: str
) -> None:
    shown = x if isinstance(x, str) else json.dumps(x)
    expected = {"=": shown == text, "<>": shown != text, "<": shown < text, ">=": shown >= text}[operator]
    quoted = "'" + text.replace("'", "''") + "'"
    assert value_of(f"event.x {operator} {quoted}", "JSON", json.dumps(x)) == str(expected).lower()


@pytest.mark.parametrize(
    ("kind", "x", "text"),
    [
        ("BIGINT", "2", "2"),
        ("DOUBLE", "2.0", "2"),
        ("JSON", "2.0", "2"),
        ("JSON", '"2.0"', "2.0"),
        ("JSON", "2.50", "2.5"),
        ("BIGINT", "9007199254740991", "9007199254740991"),
        ("DOUBLE", "9007199254740991", "9007199254740991"),
    ],
)
def test_a_key_keeps_its_text_when_its_column_becomes_another(
    value_of: Callable[..., Any], kind: str, x: str, text: str
) -> None:
    assert value_of("event.x || ''", kind, x) == text


def test_a_process_that_looked_at_expressions_ends_without_a_word() -> None:
    looked = "from flows.expression.syntax import describe, run; describe('SELECT 1 AS a'); run('SELECT 1')"
    ended = subprocess.run([sys.executable, "-c", looked], capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
