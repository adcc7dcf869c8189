"""YAML that is no YAML, or more of it than a configuration can be, gives a sentence and not a stack trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.errors import ConfigError
from flows.config import InvalidConfig, Problem, check, load

ID = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"
Problems = Callable[..., list[Problem]]


@pytest.mark.parametrize(
    ("text", "line", "column", "words", "suggestion"),
    [
        ("streams:\n\tweb:\n", 2, 1, "a tab in the indentation", "spaces"),
        ("a:\n  b: 1\n\tc: 2\n", 3, 1, "a tab in the indentation", "spaces"),
        ("a:\n  b: 1\n c: 2\n", 3, 2, "the indentation fits nothing above", "line it up"),
        ("a:\n  b: 1\n   c: 2\n", 3, 5, "a ':' where no key can be", "indentation"),
        ("a: 'x\nb: 2\n", 1, 4, "a quote is opened and never closed", "close it"),
        ('a: "x\nb: 2\n', 1, 4, "a quote is opened and never closed", "close it"),
        ("a: {b: 1\nc: 2\n", 1, 4, "a '{' is opened and never closed", "'}'"),
        ("a: [b, c\nd: 2\n", 1, 4, "a '[' is opened and never closed", "']'"),
        ("a: 'x' = y\n", 1, 8, "something follows the closing quote", "double quotes"),
        ("a: b: c\n", 1, 5, "a ':' where no key can be", "quote"),
        ("a: %{X}\n", 1, 4, "cannot begin with '%'", "double quotes"),
        ("a: @x\n", 1, 4, "cannot begin with '@'", "double quotes"),
        ("a: *x\n", 1, 4, "no anchor '&x'", "quote"),
        ("a: !event.x\n", 1, 4, "the tag '!event.x' is not known", "quote"),
        ("a: {when: event.a IN ('x', 'y'), to: [l]}\n", 1, 31, "ends at a comma", "double quotes"),
        ("a: {when: event.x[1] > 2, to: [l]}\n", 1, 18, "ends at a comma, a bracket", "double quotes"),
        ("a: 1\nbcd\ne: 1\n", 2, 1, "a key without its ':'", "key: value"),
        ("a: 1\n- b\n", 2, 1, "the indentation fits nothing", None),
        ('a: "\\d"\n', 1, 5, "an unknown escape", "single quotes"),
        ("a: > 5\n", 1, 4, "text right after '|' or '>'", "double quotes"),
        ("a: 1\n---\nb: 2\n", 2, 1, "a second document", "'---'"),
        ("a: 1\n...\nfoo\n", 3, 1, "after the end of the document", "'...'"),
        ("a: b\x00c\n", 1, 5, "a control character", "remove"),
        ("a: &x [*x]\n", 1, 8, "inside of what it stands for", None),
        ("a: !!python/object:os.system x\n", 1, 4, "is not known", None),
        ("<<: 5\nstreams: {}\n", 1, 1, "without a mapping", None),
    ],
)
def test_a_slip_of_the_pen_is_explained_at_its_place(
    problems: Problems, text: str, line: int, column: int, words: str, suggestion: str | None
) -> None:
    problem = problems(text)[0]
    assert words in problem.message
    assert (problem.line, problem.column) == (line, column)
    assert (suggestion or "") in (problem.suggestion or "")


def test_a_file_that_is_not_utf_8_is_told_with_the_place(tmp_path: Path) -> None:
    path = tmp_path / "headrace.yaml"
    path.write_bytes(b"streams:\n  caf\xe9: {}\n")
    [problem] = check(path)
    assert "not UTF-8" in problem.message
    assert (problem.line, problem.column) == (2, 6)


def test_a_byte_order_mark_and_windows_line_ends_are_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "headrace.yaml"
    path.write_bytes(f"\ufeffstreams:\r\n  web:\r\n    id: {ID}\r\n    steps:\r\n      - filter: nope\r\n".encode())
    [problem] = check(path)
    assert (problem.line, problem.column) == (5, 17)


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "aliases expand to more than"),
        ("".join(f"a{n}: &a{n}\n  <<: [{', '.join(f'*a{m}' for m in range(n))}]\n  k{n}: 1\n" for n in range(400)), ""),
        ("[" * 500_000, "nested deeper than"),
        ("{a: " * 300_000, "nested deeper than"),
        ("- " * 500_000, "nested deeper than"),
        ("? " * 500_000, "nested deeper than"),
        ("a: 1\n" * 300_000, "is there twice"),
        ("".join(f"k{n}: 1\n" for n in range(150_000)), "unknown key"),
        ("a: [" + "(, " * 100_000 + "]", ""),
        ("a: {b: " + "(, " * 100_000 + "}", ""),
        ("a: [" + "((, " * 50_000 + "), " * 100_000 + "]", ""),
        (f"streams: {{web: {{id: {ID}, steps: [{{filter: '{'(' * 100_000}'}}]}}}}", ""),
        (f"streams: {{web: {{id: {ID}, types: {{event.a: '{'STRUCT(a ' * 50_000}'}}}}}}", "is not a type"),
        (f"streams: {{web: {{id: {ID}, steps: [{{drop: ['{'a.' * 500_000}']}}]}}}}", "more than 10,000"),
        (f"streams: {{web: {{id: '{'9' * 900_000}', dedupe_window: '{'9' * 900_000}'}}}}", "UUID"),
        ("x" * 3_000_000, "at most 2,000,000"),
    ],
    ids=lambda value: value[:12] if len(value) > 60 else None,
)
def test_a_file_made_to_be_slow_is_answered(problems: Problems, text: str, words: str) -> None:
    assert any(words in problem.message for problem in problems(text))


def test_a_file_of_ten_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "headrace.yaml"
    path.write_bytes(b"a: 1\n" * 2_000_000)
    with pytest.raises(ConfigError, match="too many for a configuration"):
        load(path)


WORDS = f"""streams web id {ID} steps filter set drop routes to when also log kafka types destinations lake type
    delta uri event.a limits << &a *a !!str !x : - {{ }} [ ] ' " ${{X}} ${{ # ? DECIMAL(18,2) ( ) 1 true ~ % @ é
    \U0001f600 ---
    ... {{stream}} s3://b/ 10s 50MB"""
MARKS = [": ", "- ", ", ", "&a ", "!!str ", "|\n", ">-\n", "\n", "\n  ", "\n    ", "\n      ", "\t", "\\", "\r"]
MARKS += ["\x00", "\x85", "\u2028", "\ufeff"]
FRAGMENTS = st.sampled_from([*WORDS.split(), *MARKS])


def outcome(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    problems = check(path, {"X": "value"})
    if all(problem.severity == "warning" for problem in problems):
        load(path, {"X": "value"})
        return
    with pytest.raises(InvalidConfig) as refused:
        load(path, {"X": "value"})
    assert list(refused.value.problems) == problems
    lines = 1 + sum(text.count(end) for end in "\n\r\x85\u2028\u2029")
    assert all(1 <= problem.line <= lines + 1 and problem.column >= 1 for problem in problems)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(FRAGMENTS, max_size=40).map("".join))
def test_whatever_is_written_it_is_read_or_refused(tmp_path: Path, text: str) -> None:
    outcome(tmp_path / "headrace.yaml", text)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200))
def test_whatever_text_it_is_it_is_read_or_refused(tmp_path: Path, text: str) -> None:
    outcome(tmp_path / "headrace.yaml", text)


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | FRAGMENTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FRAGMENTS | st.integers(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["log", "data", "destinations", "streams"]), NESTED, NESTED)
def test_a_section_of_any_shape_is_read_or_refused(tmp_path: Path, section: str, value: object, inner: object) -> None:
    import yaml

    stream = {"id": ID, "steps": inner, "routes": inner, "types": inner, "limits": inner}
    text = yaml.safe_dump({"streams": {"web": stream}, section: value}, allow_unicode=True)
    outcome(tmp_path / "headrace.yaml", text)
