"""Small relations in the flat form that pipelines work on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pytest

from flows.columns import SYSTEM, Path, column, dotted, literal
from flows.compile import Plan
from flows.engine import open_engine
from flows.expression import compile_expression
from flows.steps.dropping import register_drop

Event = Mapping[str, Any]


def relation(columns: Mapping[Path, str], events: Sequence[Event]) -> str:
    """A query of the events, each a mapping of dotted path to the text of its value; `sql:` texts are SQL."""
    rows = []
    for number, event in enumerate(events):
        given = {
            "event_id": f"e{number}",
            "timestamp": "2024-05-01",
            "received_at": "2024-05-01",
            "source": "src",
            "_sample_rate": "1",
            **event,
        }
        items = []
        for path, kind in columns.items():
            value = given.get(dotted(path))
            text = "NULL" if value is None else value[4:] if str(value).startswith("sql:") else literal(str(value))
            items.append(f"CAST({text} AS {kind}) AS {column(path)}")
        rows.append("SELECT " + ", ".join(items))
    return "(" + " UNION ALL ".join(rows) + ")"


@pytest.fixture(scope="session")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_engine() as connection:
        register_drop(connection)
        yield connection


@pytest.fixture
def value_of(engine: duckdb.DuckDBPyConnection) -> Callable[..., Any]:
    """What an expression gives for one event whose `event.x` is a value of a type."""

    def evaluate(expression: str, kind: str = "VARCHAR", x: Any = None, condition: bool = False) -> Any:
        columns = {**SYSTEM, ("event", "x"): kind, ("event", "n"): "BIGINT", ("event", "h", "m"): "VARCHAR"}
        columns |= {("event", "l"): "BIGINT[]", ("event", "a b"): "VARCHAR"}
        event = {"event.x": x, "event.n": "7", "event.h.m": "GET", "event.l": "[1, 2]", 'event."a b"': "spaced"}
        compiled = compile_expression(expression, columns, condition=condition)
        source = relation(columns, [event])
        rows = engine.execute(f"SELECT CAST({compiled.sql} AS VARCHAR) FROM {source}").fetchall()
        return rows[0][0]

    return evaluate


@pytest.fixture
def rows_of(engine: duckdb.DuckDBPyConnection) -> Callable[..., list[dict[str, Any]]]:
    """The rows of a plan over events, NULLs left out, as far as they concern the event and its fate."""

    def run(plan: Plan, columns: Mapping[Path, str], events: Sequence[Event]) -> list[dict[str, Any]]:
        instant = 'REPLACE (CAST("timestamp" AS VARCHAR) AS "timestamp")'
        cursor = engine.execute(
            f"SELECT * EXCLUDE (received_at) {instant} FROM ({plan.sql(relation(columns, events))})"
        )
        names = [item[0] for item in cursor.description]
        return [{n: v for n, v in zip(names, row, strict=True) if v is not None} for row in cursor.fetchall()]

    return run
