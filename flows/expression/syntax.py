"""Parsing an expression with DuckDB's own parser, so that SQL here is what is SQL there.

The parser gives a tree (`json_serialize_sql`); nothing of the text itself ever reaches a query:
`flows.expression.lower` writes new SQL from the nodes it knows, and refuses the others.
"""

from __future__ import annotations

import atexit
import os
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from flows.engine import open_engine

if TYPE_CHECKING:
    import duckdb

Node = dict[str, Any]

MAX_BYTES = 100_000
MAX_DEPTH = 60

_PREFIX = "SELECT "
_lock = threading.Lock()
_parsers: dict[int, duckdb.DuckDBPyConnection] = {}


class ExpressionProblem(msgspec.Struct, frozen=True):
    """What is wrong with an expression; `offset` counts characters from its start."""

    message: str
    offset: int = 0
    suggestion: str | None = None


class InvalidExpression(ValueError):
    """An expression that cannot be used; carries the problem."""

    def __init__(self, problem: ExpressionProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def run(sql: str, *arguments: str) -> list[tuple[Any, ...]]:
    """Rows of a query on this process's own parsing connection."""
    with _lock:
        connection = _parsers.get(os.getpid())
        if connection is None:
            connection = _parsers[os.getpid()] = open_engine(memory_limit="256MB")
        rows: list[tuple[Any, ...]] = connection.execute(sql, list(arguments)).fetchall()
        return rows


@lru_cache(maxsize=4096)
def describe(sql: str) -> tuple[Any, ...]:
    """The DuckDB types of a query's columns, found by binding it; raises duckdb.Error where it does not bind."""
    with _lock:
        connection = _parsers.get(os.getpid())
        if connection is None:
            connection = _parsers[os.getpid()] = open_engine(memory_limit="256MB")
        return tuple(connection.sql(sql).types)


@atexit.register
def _let_go() -> None:
    """Before the interpreter ends: DuckDB's binding complains at length of what is still held then."""
    describe.cache_clear()
    _parsers.clear()


@lru_cache(maxsize=4096)
def parse(text: str) -> Node:
    """The tree of one scalar expression; raises InvalidExpression."""
    import duckdb

    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise InvalidExpression(ExpressionProblem(f"an expression may have at most {MAX_BYTES} bytes"))
    if not text.strip():
        raise InvalidExpression(ExpressionProblem("the expression is empty"))
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise InvalidExpression(ExpressionProblem("the expression holds a character that is not allowed"))
    if _bracket_depth(text) > MAX_DEPTH:
        raise InvalidExpression(ExpressionProblem(f"nested more than {MAX_DEPTH} levels deep"))
    try:
        answer = msgspec.json.decode(run("SELECT json_serialize_sql(?)", _PREFIX + text)[0][0])
    except (duckdb.Error, msgspec.DecodeError, RecursionError) as exc:
        raise InvalidExpression(ExpressionProblem(f"cannot be parsed: {_first_line(str(exc))}")) from None
    if answer.get("error"):
        raise InvalidExpression(_syntax_problem(answer, text))
    statements = answer["statements"]
    if len(statements) != 1:
        raise InvalidExpression(ExpressionProblem("one expression, not several statements", text.find(";")))
    select = statements[0]["node"]
    items = select.get("select_list", [])
    if len(items) != 1 or not _bare(select) or statements[0].get("named_param_map"):
        raise InvalidExpression(ExpressionProblem("one expression, not a query", 0, "leave out FROM, WHERE and commas"))
    node: Node = items[0]
    if node.get("alias"):
        raise InvalidExpression(ExpressionProblem("an expression has no alias", 0, f"leave out AS {node['alias']}"))
    if _depth(node) > MAX_DEPTH * 2:
        raise InvalidExpression(ExpressionProblem(f"nested more than {MAX_DEPTH} levels deep"))
    return node


def offset(node: Node, text: str) -> int:
    """Where a node begins in the expression's text, in characters."""
    location = int(node.get("query_location", 0))
    if not len(_PREFIX) <= location <= len(_PREFIX) + len(text.encode()):
        return 0
    return len(text.encode()[: location - len(_PREFIX)].decode(errors="ignore"))


def children(node: Any) -> list[Node]:
    """The expression nodes directly below a node, in the order written."""
    found: list[Node] = []
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, dict) and "class" in value:
            found.append(value)
        elif isinstance(value, dict | list):
            found.extend(children(value))
    return found


def _bare(select: Node) -> bool:
    return select.get("type") == "SELECT_NODE" and _frame(select) == _frame(_plain_select())


def _frame(select: Node) -> Node:
    frame = {key: value for key, value in select.items() if key != "select_list"}
    frame["from_table"] = {k: v for k, v in select["from_table"].items() if not k.startswith("query_location")}
    return frame


@lru_cache(maxsize=1)
def _plain_select() -> Node:
    answer = msgspec.json.decode(run("SELECT json_serialize_sql('SELECT 1')")[0][0])
    node: Node = answer["statements"][0]["node"]
    return node


def _depth(root: Node) -> int:
    deepest, stack = 0, [(root, 1)]
    while stack:
        node, level = stack.pop()
        deepest = max(deepest, level)
        if deepest > MAX_DEPTH * 2:
            break
        stack.extend((child, level + 1) for child in children(node))
    return deepest


def _bracket_depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth -= 1
    return deepest


def _syntax_problem(answer: Node, text: str) -> ExpressionProblem:
    if answer.get("error_type") == "not implemented" or "Only SELECT" in answer.get("error_message", ""):
        return ExpressionProblem("one expression, not several statements", max(text.find(";"), 0))
    message = _first_line(str(answer.get("error_message", "syntax error")))
    position = int(answer.get("position", len(_PREFIX)) or 0) - len(_PREFIX)
    return ExpressionProblem(message, max(0, min(position, len(text))))


def _first_line(message: str) -> str:
    line = message.strip().splitlines()[0] if message.strip() else "syntax error"
    return line.replace("Parser Error: ", "")
