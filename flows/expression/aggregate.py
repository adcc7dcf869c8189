"""Aggregates over many events: `sum(event.amount) / count(*)` taken apart into its calls and what is computed of them.

What stands inside of a call is an expression over one event, with all the rules of one; what stands around the calls is
an expression over their results.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from flows.expression import functions
from flows.expression.check import check_node
from flows.expression.costs import costly
from flows.expression.paths import as_path
from flows.expression.syntax import ExpressionProblem, InvalidExpression, Node, children, offset, parse

QUANTILES = ("quantile_cont", "quantile_disc")
_NAMES = {
    **{name: name for name in ("count", "sum", "avg", "min", "max", "first", "last", "median", *QUANTILES)},
    **{name: name for name in ("stddev_samp", "stddev_pop", "var_samp", "var_pop")},
    "count_star": "count",
    "mean": "avg",
    "stddev": "stddev_samp",
    "variance": "var_samp",
}
_KNOWN = "count, sum, avg, min, max, first, last, median, quantile_cont, quantile_disc, stddev(_pop), variance, var_pop"
_RESULT = "_call"
_ALSO = frozenset({"_sample_rate"})


class Call(msgspec.Struct, frozen=True):
    """One aggregate: `function` (in its one spelling) of `argument` where `condition` is true; `count` may have none.

    `fraction` is the text of a quantile's number, between 0 and 1.
    """

    function: str
    argument: Node | None = None
    condition: Node | None = None
    distinct: bool = False
    fraction: str = ""


class Aggregated(msgspec.Struct, frozen=True):
    """An expression over `calls`: `outer` names the results by `result(n)` in the order of the calls."""

    calls: tuple[Call, ...]
    outer: Node


def result(number: int) -> str:
    """The name, in `Aggregated.outer`, of what a call gives."""
    return f"{_RESULT}{number}"


def check_aggregate(text: str) -> list[ExpressionProblem]:
    """Every problem of the expression over many events, in the order written."""
    try:
        root = parse(text)
    except InvalidExpression as exc:
        return [exc.problem]
    problems: list[ExpressionProblem] = []
    calls: list[Call] = []
    outer = _taken_apart(root, text, calls, problems)
    names = frozenset(result(number) for number in range(len(calls)))
    problems += check_node(outer, text, names)
    if not problems and (part := costly(outer)) is not None:
        # A window's or a rollup's results are computed when it is time, and belong to no event that could be set aside.
        what = (
            f"{part.get('function_name', 'this').lower()}() of an aggregate cannot be used: what it takes has no bound"
        )
        remedy = "use it inside of the aggregate, on one event, or in a `set` after the window"
        problems.append(ExpressionProblem(what, offset(part, text), remedy))
    for node in [] if problems else _paths(outer, names):
        path = ".".join(node.get("column_names", ["this"]))
        what = f"{path} is a value of one event, and an aggregate is over many"
        problems.append(ExpressionProblem(what, offset(node, text), f"take one of them: max({path}), last({path})"))
    if not calls and not problems:
        problems.append(ExpressionProblem("there is no aggregate in it", 0, f"use one of {_KNOWN}"))
    return sorted(problems, key=lambda problem: problem.offset)


def calls_taken_out(root: Node, text: str) -> list[Node]:
    """The parts of an expression that are computed by themselves: what stands around its aggregates, and in each."""
    calls: list[Call] = []
    outer = _taken_apart(root, text, calls, [])
    inside = [part for call in calls for part in (call.argument, call.condition) if part is not None]
    return [outer, *inside]


def take_apart(text: str) -> Aggregated:
    """The calls of an expression and what is computed of them; raises InvalidExpression."""
    problems = check_aggregate(text)
    if problems:
        raise InvalidExpression(problems[0])
    calls: list[Call] = []
    return Aggregated(outer=_taken_apart(parse(text), text, calls, problems), calls=tuple(calls))


def _taken_apart(node: Any, text: str, calls: list[Call], problems: list[ExpressionProblem]) -> Any:
    """A copy of the tree with a name in the place of each call; the calls and what is wrong with them are noted."""
    if isinstance(node, list):
        return [_taken_apart(part, text, calls, problems) for part in node]
    if not isinstance(node, dict):
        return node
    if node.get("class") == "FUNCTION":
        name = node["function_name"].lower()
        if name in _NAMES or name in functions.aggregates():
            found = _problems(node, name, text)
            problems += found
            calls.append(Call("count") if found else _call(node, name))
            return _reference(node, len(calls) - 1)
    return {key: _taken_apart(part, text, calls, problems) for key, part in node.items()}


def _problems(node: Node, name: str, text: str) -> list[ExpressionProblem]:
    at = offset(node, text)
    arguments = [argument["expression"] for argument in node["arguments"]]
    wanted = 2 if name in QUANTILES else 0 if name == "count_star" else 1
    if name not in _NAMES:
        return [ExpressionProblem(f"the aggregate {name}() cannot be used here", at, f"known: {_KNOWN}")]
    if node.get("schema") or node.get("catalog"):
        return [ExpressionProblem(f"{name}() is written with a dot before it", at, f"write {name}(…)")]
    if len(arguments) != wanted:
        takes = {0: "nothing", 1: "one value", 2: "a value and a fraction"}[wanted]
        return [ExpressionProblem(f"{name}() takes {takes}", at)]
    if name in QUANTILES and _fraction(arguments[1]) is None:
        return [ExpressionProblem(f"{name}() takes a number between 0 and 1 as its fraction", at)]
    if (node.get("order_bys") or {}).get("orders"):
        return [ExpressionProblem("ORDER BY cannot be used: events are in the order of their time", at)]
    if node.get("distinct") and name != "count":
        return [ExpressionProblem(f"DISTINCT cannot be used in {name}()", at, "count(DISTINCT …) can")]
    if node.get("filter") and name in ("first", "last"):
        return [ExpressionProblem(f"FILTER cannot be used with {name}()", at)]
    inside = [*arguments[:1], *([node["filter"]] if node.get("filter") else [])]
    return [problem for part in inside for problem in check_node(part, text, _ALSO)]


def _call(node: Node, name: str) -> Call:
    arguments = [argument["expression"] for argument in node["arguments"]]
    return Call(
        _NAMES[name],
        arguments[0] if arguments else None,
        node.get("filter"),
        bool(node.get("distinct")),
        _fraction(arguments[1]) or "" if name in QUANTILES else "",
    )


def _fraction(node: Node) -> str | None:
    if node["class"] != "CONSTANT" or node["literal"]["kind"] not in ("INTEGER", "NUMERIC"):
        return None
    text = str(node["literal"]["text"])
    return text if re.fullmatch(r"[0-9]*\.?[0-9]+", text) and 0 <= float(text) <= 1 else None


def _reference(node: Node, number: int) -> Node:
    plain = {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "column_names": [result(number)]}
    return plain | {key: value for key, value in node.items() if key.startswith("query_location")}


def _paths(node: Node, names: frozenset[str]) -> list[Node]:
    path = as_path(node)
    if path is not None:
        return [] if path[0] in names else [node]
    return [found for child in children(node) for found in _paths(child, names)]
