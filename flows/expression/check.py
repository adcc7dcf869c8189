"""What is wrong with an expression whatever the data: before a pipeline starts, and for an editor."""

from __future__ import annotations

import difflib
import re

from flows.expression import functions
from flows.expression.lower import lambda_parameters, type_name
from flows.expression.paths import ROOTS
from flows.expression.syntax import ExpressionProblem, InvalidExpression, Node, children, offset, parse, run
from flows.expression.values import duck_type

_REFUSED_CLASSES = {
    "SUBQUERY": "a sub-query cannot be used: an expression sees one event",
    "WINDOW": "a window function cannot be used: an expression sees one event",
    "STAR": "'*' cannot be used: name the fields",
    "PARAMETER": "a parameter ($1, ?) cannot be used: write the value",
    "POSITIONAL_REFERENCE": "a positional reference (#1) cannot be used: name the field",
    "DEFAULT": "DEFAULT cannot be used in an expression",
}
_KNOWN_CLASSES = functions.words(
    "CONSTANT COMPARISON BETWEEN CONJUNCTION CASE CAST OPERATOR FUNCTION LAMBDA COLLATE COLUMN_REF TYPE"
)
_OPERATORS = functions.words(
    """
    OPERATOR_NOT OPERATOR_IS_NULL OPERATOR_IS_NOT_NULL OPERATOR_COALESCE COMPARE_IN COMPARE_NOT_IN OPERATOR_TRY
    STRUCT_EXTRACT ARRAY_EXTRACT ARRAY_SLICE
    """
)
_MAX_LAMBDAS = 2
_CLOCK = re.compile(r"(current|local)_?(date|time|timestamp)$|now$|today$")


def check(text: str, *, roots: frozenset[str] = ROOTS) -> list[ExpressionProblem]:
    """Every problem of the expression, in the order written; none means that it compiles for some events at least.

    `roots` are the names that a path can begin with: those of an event, or the columns of something else.
    """
    try:
        root = parse(text)
    except InvalidExpression as exc:
        return [exc.problem]
    return check_node(root, text, roots=roots)


def check_node(
    root: Node, text: str, names: frozenset[str] = frozenset(), *, roots: frozenset[str] = ROOTS
) -> list[ExpressionProblem]:
    """Every problem of a part of `text`; `names` are known beside the `roots`."""
    problems: list[ExpressionProblem] = []
    _walk(root, text, (roots, names), 0, problems)
    return sorted(problems, key=lambda problem: problem.offset)


_Names = tuple[frozenset[str], frozenset[str]]
"""Roots of paths, and the names known beside them."""


def _walk(node: Node, text: str, names: _Names, lambdas: int, problems: list[ExpressionProblem]) -> None:
    at = offset(node, text)
    kind = node["class"]
    if kind in _REFUSED_CLASSES:
        problems.append(ExpressionProblem(_REFUSED_CLASSES[kind], at))
        return
    if kind not in _KNOWN_CLASSES or (kind == "OPERATOR" and node["type"] not in _OPERATORS):
        problems.append(ExpressionProblem(f"{_words(node['type'])} cannot be used in an expression", at))
        return
    if kind == "COLUMN_REF":
        problems += _root_problem(node["column_names"], *names, at)
        return
    if kind == "CAST":
        problems += _type_problem(node["type_expr"], at)
        _walk(node["child"], text, names, lambdas, problems)
        return
    if kind == "FUNCTION":
        problems += _function_problems(node, at)
        over_list = node["function_name"].lower() in functions.LAMBDAS
        for argument in node["arguments"]:
            part = argument["expression"]
            if over_list and part["class"] == "LAMBDA":
                if lambdas == _MAX_LAMBDAS:
                    problems.append(ExpressionProblem(f"lambdas nest at most {_MAX_LAMBDAS} deep", offset(part, text)))
                    continue
                try:
                    own = frozenset(name.lower() for name in lambda_parameters(part))
                except InvalidExpression as exc:
                    problems.append(exc.problem)
                    continue
                _walk(part["expr"], text, (names[0], names[1] | own), lambdas + 1, problems)
            else:
                _walk(part, text, names, lambdas, problems)
        return
    for child in children(node):
        _walk(child, text, names, lambdas, problems)


def _root_problem(path: list[str], roots: frozenset[str], names: frozenset[str], at: int) -> list[ExpressionProblem]:
    root = path[0].lower()
    if root in names or root in roots:
        return []
    if _CLOCK.match(root):
        return [
            ExpressionProblem(f"{root} cannot be used here", at, "use received_at: a replay must give the same rows")
        ]
    near = difflib.get_close_matches(root, roots, n=1, cutoff=0.7)
    if roots is not ROOTS:
        remedy = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(sorted(roots))}"
        return [ExpressionProblem(f"there is no column {path[0]!r}", at, remedy)]
    meant = ".".join([near[0], *path[1:]] if near else ["event", *path])
    return [ExpressionProblem(f"{'.'.join(path)!r} is no field of an event", at, f"did you mean '{meant}'?")]


def _function_problems(node: Node, at: int) -> list[ExpressionProblem]:
    name = node["function_name"].lower()
    if node.get("schema") or node.get("catalog"):
        return [ExpressionProblem(f"{name}() is written with a dot before it", at, f"write {name}(…)")]
    refused = functions.refusal(name)
    if refused:
        return [ExpressionProblem(refused[0], at, refused[1])]
    if node.get("distinct") or node.get("filter") or (node.get("order_bys") or {}).get("orders"):
        return [ExpressionProblem("DISTINCT, FILTER and ORDER BY belong to aggregates", at)]
    given = [argument["expression"] for argument in node["arguments"]]
    if name == "age" and len(given) == 1:
        return [ExpressionProblem("age() of one instant reads the clock", at, "write age(received_at, …)")]
    if name in functions.CLAMPED and any(_calls(part, functions.CLAMPED) for part in given):
        return [ExpressionProblem(f"{name}() of a repeated or padded text is not bounded by the event", at)]
    if name.endswith("like_escape") and not _one_character(given):
        return [ExpressionProblem("ESCAPE takes a constant of one character", at)]
    if name in functions.FORMATS and not _modest_format(given):
        return [ExpressionProblem(f"{name}() takes a constant format, with widths below 1000", at)]
    return []


def _one_character(given: list[Node]) -> bool:
    return len(given) == 3 and given[2]["class"] == "CONSTANT" and len(given[2]["literal"]["text"].encode()) == 1


def _modest_format(given: list[Node]) -> bool:
    if not given or given[0]["class"] != "CONSTANT":
        return False
    text = given[0]["literal"]["text"]
    return not re.search(r"\d{4}|%[^a-zA-Z%]*\*|\{[^}]*\{", text)


def _calls(node: Node, names: frozenset[str]) -> bool:
    return node.get("function_name", "").lower() in names or any(_calls(child, names) for child in children(node))


def _type_problem(node: Node, at: int) -> list[ExpressionProblem]:
    import duckdb

    try:
        duck_type(f"CAST(NULL AS {type_name(node)})", frozenset())
    except duckdb.Error:
        name = str(node.get("type_name", "?"))
        known = [str(row[0]) for row in run("SELECT DISTINCT upper(type_name) FROM duckdb_types()")]
        near = difflib.get_close_matches(name.upper(), known, n=1)
        return [ExpressionProblem(f"unknown type {name}", at, f"did you mean '{near[0]}'?" if near else None)]
    return []


def _words(name: str) -> str:
    return name.lower().replace("operator_", "").replace("_", " ")
