"""What can be said of an expression without an event: which fields it reads, and whether it can ever be true."""

from __future__ import annotations

import msgspec

from flows.columns import Path
from flows.expression.compiled import compile_expression
from flows.expression.lower import lambda_parameters
from flows.expression.paths import as_path
from flows.expression.syntax import InvalidExpression, Node, children, parse, run

_STRICT = {
    "COMPARE_EQUAL",
    "COMPARE_NOTEQUAL",
    "COMPARE_LESSTHAN",
    "COMPARE_GREATERTHAN",
    "COMPARE_LESSTHANOREQUALTO",
    "COMPARE_GREATERTHANOREQUALTO",
}


def fields_read(text: str) -> list[Path]:
    """The paths of the event that the expression names, each once, in the order written; none of a broken one."""
    try:
        root = parse(text)
    except InvalidExpression:
        return []
    found: list[Path] = []
    _collect(root, frozenset(), found)
    return list(dict.fromkeys(found))


def never_true(text: str) -> bool:
    """Whether the condition is false or NULL for every event whatever: `false`, `1 = 2`, `event.a = NULL`, …"""
    try:
        return _never(parse(text))
    except InvalidExpression:
        return False


def _collect(node: Node, names: frozenset[str], found: list[Path]) -> None:
    path = as_path(node)
    if path is not None:
        if path[0].lower() not in names:
            found.append((path[0].lower(), *path[1:]))
        return
    if node["class"] == "LAMBDA":
        own = frozenset(name.lower() for name in lambda_parameters(node))
        _collect(node["expr"], names | own, found)
        return
    for child in children(node):
        _collect(child, names, found)


def _never(node: Node) -> bool:
    if node["class"] == "CONJUNCTION":
        below = [_never(child) for child in children(node)]
        return any(below) if node["type"] == "CONJUNCTION_AND" else all(below)
    if node["type"] in _STRICT and any(_is_null(child) for child in children(node)):
        return True
    return _constant(node) and _value(node, condition=True) is not True


def _is_null(node: Node) -> bool:
    return node["class"] == "CONSTANT" and _value(node, condition=False) is None


def _constant(node: Node) -> bool:
    found: list[Path] = []
    _collect(node, frozenset(), found)
    return not found


def _value(node: Node, *, condition: bool) -> object:
    """The value of a constant; True where it cannot be told, so that nothing is said of it."""
    import duckdb

    sql = _text(node)
    if sql is None:
        return True
    try:
        compiled = compile_expression(sql, {}, condition=condition)
        return run(f"SELECT {compiled.sql}")[0][0]
    except (duckdb.Error, InvalidExpression):
        return True


def _text(node: Node) -> str | None:
    """The SQL of a parsed node, written by DuckDB itself."""
    import duckdb

    answer = msgspec.json.decode(run("SELECT json_serialize_sql('SELECT 1')")[0][0])
    answer["statements"][0]["node"]["select_list"] = [node]
    try:
        sql = str(run("SELECT json_deserialize_sql(?)", msgspec.json.encode(answer).decode())[0][0])
    except duckdb.Error:
        return None
    return sql.removeprefix("SELECT ").strip()
