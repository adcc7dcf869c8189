"""`window` and `rollups` as a user writes them, and every mistake in them told where it stands."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from flows.config import Problem, load
from flows.rollups import by_columns
from flows.steps import Window

ID = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"
OTHER_ID = "b1c3b4de-1923-4ff1-8dba-f92ad912d20f"
Problems = Callable[..., list[Problem]]


def stream(rest: str) -> str:
    return f"streams:\n  web:\n    id: {ID}\n    {rest}\n"


def window(settings: str) -> str:
    return stream(f"steps: [{{window: {{{settings}}}}}]")


def rollup(settings: str) -> str:
    return stream(f"rollups: [{{{settings}}}]")


def test_a_window_has_its_defaults(write: Callable[[str], Path]) -> None:
    text = "name: velocity, key: event.user_id, length: 5m, aggregate: {txns: count(*), p: quantile_cont(event.l, 0.9)}"
    [step] = load(write(window(text))).streams["web"].steps
    assert step == Window(
        name="velocity",
        key="event.user_id",
        length=timedelta(minutes=5),
        aggregate={"txns": "count(*)", "p": "quantile_cont(event.l, 0.9)"},
        lateness=timedelta(seconds=10),
        idle=timedelta(seconds=10),
    )


def test_a_rollup_names_its_columns_by_the_last_part(write: Callable[[str], Path]) -> None:
    text = "name: m, every: 1m, by: [source, event.http.status, metadata.http.status], aggregate: {n: count(*)}"
    [settings] = load(write(rollup(text))).streams["web"].rollups
    assert list(by_columns(settings)) == ["source", "event_http_status", "metadata_http_status"]
    assert settings.to == ("lake",)


@pytest.mark.parametrize(
    ("settings", "path", "message"),
    [
        ("name: v, key: event.k, length: 5m, aggregate: {}", "aggregate", "no aggregate"),
        ("name: v, key: event.k, length: 0s, aggregate: {n: count(*)}", "length", "out of range"),
        ("name: a-b, key: event.k, length: 5m, aggregate: {n: count(*)}", "name", "cannot be a name"),
        ("name: v, key: event.k, length: 5m, aggregate: {a b: count(*)}", "aggregate.a b", "cannot be a name"),
        ("name: v, key: event.k, length: 5m, aggregate: {n: count(*), N: count(*)}", "aggregate.N", "only in case"),
        ("name: v, key: count(*), length: 5m, aggregate: {n: count(*)}", "key", "sees one event"),
        ("name: v, key: event.k, length: 5m, aggregate: {n: event.k}", "aggregate.n", "aggregate is over many"),
        ("name: v, key: event.k, length: 5m, aggregate: {n: 1 + 1}", "aggregate.n", "no aggregate in it"),
        ("name: v, key: event.k, length: 5m, aggregate: {n: mode(event.k)}", "aggregate.n", "known: count"),
        ("name: v, key: event.k, length: 5m, aggregate: {n: sum(max(event.k))}", "aggregate.n", "sees one event"),
        ("name: v, key: event.k, length: 5m, aggregate: {n: sum(DISTINCT event.k)}", "aggregate.n", "DISTINCT"),
        ("name: v, key: event.k, length: 5m, aggregate: {n: median(evnt.k)}", "aggregate.n", "'event.k'"),
        ("name: v, key: event.k, length: 5m, aggregate: {n: count(*) OVER ()}", "aggregate.n", "window function"),
        (
            "name: v, key: event.k, length: 5m, aggregate: {n: max(event.k), m: now() - max(event.k)}",
            "aggregate.m",
            "now",
        ),
        ('name: v, key: event.k, length: 5m, aggregate: {n: "quantile_cont(event.k, 2)"}', "aggregate.n", "fraction"),
        ('name: v, key: event.k, length: 5m, aggregate: {n: "quantile_cont(event.k)"}', "aggregate.n", "fraction"),
    ],
)
def test_a_mistake_in_a_window_is_told(problems: Problems, settings: str, path: str, message: str) -> None:
    [problem] = problems(window(settings))
    assert problem.path == f"streams.web.steps[0].window.{path}"
    assert message in f"{problem.message}; {problem.suggestion}"
    assert problem.line == 4


def test_a_mistake_in_an_aggregate_is_told_at_its_place(problems: Problems) -> None:
    settings = "name: v, key: event.k, length: 5m, aggregate: {n: sum(event.a) + summ(event.b)}"
    [problem] = problems(window(settings))
    assert problem.column == window(settings).splitlines()[3].index("summ") + 1


def test_two_windows_of_one_name_are_refused(problems: Problems) -> None:
    one = "{window: {name: v, key: event.k, length: 5m, aggregate: {n: count(*)}}}"
    [problem] = problems(stream(f"steps: [{one}, {one}]"))
    assert problem.path == "streams.web.steps[1].window.name"


@pytest.mark.parametrize(
    ("settings", "path", "message"),
    [
        ("name: m, every: 1m, aggregate: {n: count(*)}, to: [lakee]", "to[0]", "did you mean 'lake'"),
        ("name: m, every: 1m, aggregate: {n: count(*)}, to: []", "to", "no destination"),
        ("name: m, every: 1m, aggregate: {window_end: count(*)}", "aggregate.window_end", "already"),
        ("name: m, every: 1m, by: [lower(source)], aggregate: {n: count(*)}", "by", "by: {name: expression}"),
        ("name: m, every: 1m, by: {n: source}, aggregate: {n: count(*)}", "by", "'n'"),
        ("name: m, every: 1m, by: {k: source, K: event.k}, aggregate: {n: count(*)}", "by", "'K'"),
        ("name: m, every: 1m, aggregate: {Date: count(*)}", "aggregate.Date", "already"),
        ("name: m, every: 1m, by: [source, source], aggregate: {n: count(*)}", "by", "'source'"),
        ("name: m, every: 1m, by: [sum(event.a)], aggregate: {n: count(*)}", "by[0]", "sees one event"),
        ("name: app, every: 1m, aggregate: {n: count(*)}", "name", "that of stream 'web_app'"),
    ],
)
def test_a_mistake_in_a_rollup_is_told(problems: Problems, settings: str, path: str, message: str) -> None:
    [problem] = problems(f"{rollup(settings)}  web_app: {{id: {OTHER_ID}}}\n")
    assert problem.path == f"streams.web.rollups[0].{path}"
    assert message in f"{problem.message}; {problem.suggestion}"


def test_two_rollups_of_one_name_are_refused(problems: Problems) -> None:
    one = "{name: m, every: 1m, aggregate: {n: count(*)}}"
    [problem] = problems(stream(f"rollups: [{one}, {one}]"))
    assert problem.path == "streams.web.rollups[1].name"


def test_a_rollup_needs_a_table_of_its_own(problems: Problems) -> None:
    settings = "name: m, every: 1m, aggregate: {n: count(*)}"
    [problem] = problems(f"destinations: {{lake: {{type: delta, uri: ./all}}}}\n{rollup(settings)}")
    assert problem.path == "destinations.lake.uri"
    assert "web_m" in problem.message


def test_a_destination_of_a_rollup_alone_is_used(problems: Problems) -> None:
    text = """
        destinations:
          lake: {type: delta, uri: "./lake/{stream}"}
          hours: {type: delta, uri: "./hours/{stream}"}
    """
    settings = "name: m, every: 1h, aggregate: {n: count(*)}, to: [hours]"
    assert problems(f"{text.strip()}\n{rollup(settings)}".replace("\n          ", "\n  ")) == []
