"""From the tree of an expression to SQL over flat columns, with every conversion spelled out.

Bottom up: each node becomes a `Value` whose type is known, so a comparison can read its path as the literal's type and
a function can be given what it takes. Only nodes named here pass; `flows.expression.check` has refused the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from flows.columns import literal, quoted
from flows.expression import functions
from flows.expression.calls import call, first_that_binds
from flows.expression.comparing import compare, unified
from flows.expression.paths import Scope, as_path, resolve
from flows.expression.syntax import ExpressionProblem, InvalidExpression, Node, run
from flows.expression.values import (
    NULL,
    Value,
    as_boolean,
    as_json,
    as_number,
    as_text,
    derive,
    duck_type,
    element,
    field,
)

_COMPARISONS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_DISTINCT_FROM": "IS DISTINCT FROM",
    "COMPARE_NOT_DISTINCT_FROM": "IS NOT DISTINCT FROM",
}


def lower(node: Node, scope: Scope) -> Value:
    """The SQL of a node. Raises duckdb.Error where it does not bind, InvalidExpression where it is refused."""
    path = as_path(node)
    if path is not None:
        return resolve(path, scope)
    compile_node = _NODES.get(node["class"])
    if compile_node is None:
        raise refused(node)
    return compile_node(node, scope)


def refused(node: Node) -> InvalidExpression:
    name = str(node.get("function_name") or node.get("type", node.get("class"))).lower().replace("_", " ")
    return InvalidExpression(ExpressionProblem(f"{name} cannot be used in an expression"))


def _constant(node: Node, _scope: Scope) -> Value:
    kind, text = node["literal"]["kind"], node["literal"]["text"]
    if kind == "NULL_LITERAL":
        return NULL
    if kind == "STRING":
        return Value(literal(text), "VARCHAR")
    if kind not in ("INTEGER", "NUMERIC", "BOOLEAN") or not re.fullmatch(r"-?[\w.+-]+", text):
        raise refused(node)
    return derive(text)


def _comparison(node: Node, scope: Scope) -> Value:
    return compare(_COMPARISONS[node["type"]], lower(node["left"], scope), lower(node["right"], scope))


def _between(node: Node, scope: Scope) -> Value:
    value, low, high = (lower(node[key], scope) for key in ("input", "lower", "upper"))
    above, below = compare(">=", value, low), compare("<=", value, high)
    return derive(f"({above.sql} AND {below.sql})", above, below, type="BOOLEAN")


def _conjunction(node: Node, scope: Scope) -> Value:
    parts = [as_boolean(lower(child, scope)) for child in node["children"]]
    word = " AND " if node["type"] == "CONJUNCTION_AND" else " OR "
    return derive("(" + word.join(part.sql for part in parts) + ")", *parts, type="BOOLEAN")


def _case(node: Node, scope: Scope) -> Value:
    whens = [as_boolean(lower(check["when_expr"], scope)) for check in node["case_checks"]]
    thens = [lower(check["then_expr"], scope) for check in node["case_checks"]]
    *thens, otherwise = unified([*thens, lower(node["else_expr"], scope)])
    arms = " ".join(f"WHEN {when.sql} THEN {then.sql}" for when, then in zip(whens, thens, strict=True))
    return derive(f"CASE {arms} ELSE {otherwise.sql} END", *whens, *thens, otherwise)


def _cast(node: Node, scope: Scope) -> Value:
    child = lower(node["child"], scope)
    target = str(duck_type(f"CAST(NULL AS {type_name(node['type_expr'])})", frozenset()))
    if target == "VARCHAR":
        return as_text(child)
    if target == "BOOLEAN":
        return as_boolean(child)
    if child.kind == "json" and target != "JSON" and not target.endswith("]") and not target.startswith("STRUCT"):
        child = as_text(child)
    if target == "JSON" and child.kind == "text" and child.leaf:
        return derive(f"TRY_CAST({child.sql} AS JSON)", child, type="JSON")
    return derive(f"TRY_CAST({child.sql} AS {target})", child, type=target)


def type_name(node: Node) -> str:
    """The SQL of a type as the parser wrote it."""
    null = {"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "literal": {"kind": "NULL_LITERAL", "text": ""}}
    cast = {"class": "CAST", "type": "OPERATOR_CAST", "alias": "", "child": null, "try_cast": False, "type_expr": node}
    tree = msgspec.json.decode(run("SELECT json_serialize_sql('SELECT 1')")[0][0])
    tree["statements"][0]["node"]["select_list"] = [cast]
    sql: str = run("SELECT json_deserialize_sql(CAST(? AS JSON))", msgspec.json.encode(tree).decode())[0][0]
    return sql.removeprefix("SELECT CAST(NULL AS ").removesuffix(")")


def _operator(node: Node, scope: Scope) -> Value:
    kind, nodes = node["type"], node["children"]
    values = [lower(child, scope) for child in nodes]
    if kind == "OPERATOR_NOT":
        return derive(f"(NOT {as_boolean(values[0]).sql})", values[0], type="BOOLEAN")
    if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
        word = "IS NULL" if kind == "OPERATOR_IS_NULL" else "IS NOT NULL"
        return derive(f"({values[0].sql} {word})", values[0], type="BOOLEAN")
    if kind == "OPERATOR_COALESCE":
        values = unified(values)
        return derive(f"coalesce({', '.join(value.sql for value in values)})", *values)
    if kind == "COMPARE_IN":
        equal = [compare("=", values[0], value) for value in values[1:]]
        return derive("(" + " OR ".join(one.sql for one in equal) + ")", *equal, type="BOOLEAN")
    if kind == "COMPARE_NOT_IN":
        different = [compare("<>", values[0], value) for value in values[1:]]
        return derive("(" + " AND ".join(one.sql for one in different) + ")", *different, type="BOOLEAN")
    if kind == "OPERATOR_TRY":
        return derive(f"TRY({values[0].sql})", values[0], type=values[0].type)
    if kind == "STRUCT_EXTRACT":
        return field(values[0], nodes[1]["literal"]["text"])
    if kind == "ARRAY_EXTRACT":
        if nodes[1]["class"] == "CONSTANT" and nodes[1]["literal"]["kind"] == "STRING":
            return field(values[0], nodes[1]["literal"]["text"])
        return element(values[0], values[1])
    if kind == "ARRAY_SLICE":
        return derive(f"{values[0].sql}[{values[1].sql}:{values[2].sql}]", *values[:3], risky=True)
    raise refused(node)


def _function(node: Node, scope: Scope) -> Value:
    name = node["function_name"].lower()
    if name == "strptime":
        name = "try_strptime"  # TRY costs 25 µs for each event that fails: a batch of them would crawl
    given = node["arguments"]
    if name in functions.LAMBDAS and len(given) == 2 and given[1]["expression"]["class"] == "LAMBDA":
        return _lambda(name, lower(given[0]["expression"], scope), given[1]["expression"], scope)
    values = [lower(argument["expression"], scope) for argument in given]
    if name == "struct_pack":
        named = zip((argument["name"] for argument in given), values, strict=True)
        packed = ", ".join(f"{quoted(name)} := {value.sql}" for name, value in named)
        return derive(f"struct_pack({packed})", *values)
    if name == "nullif":
        equal = compare("=", values[0], values[1])
        return derive(f"CASE WHEN {equal.sql} THEN NULL ELSE {values[0].sql} END", equal, values[0])
    if name in ("greatest", "least") and any(value.kind == "number" for value in values):
        values = [as_number(value) for value in values]
    elif name in functions.UNIFYING:
        values = [as_boolean(values[0]), *unified(values[1:])] if name == "if" else unified(values)
    if name in functions.CLAMPED and len(values) > 1:
        length = f"least(TRY_CAST({as_number(values[1]).sql} AS BIGINT), {functions.MAX_LENGTH})"
        values[1] = derive(f"CAST(greatest({length}, 0) AS INTEGER)", values[1], type="INTEGER")
    if name in ("->", "->>") or name.startswith("json_"):
        first = values[0] if values[0].kind in ("text", "json", "null") else as_json(values[0])
        return call(name, [first, *values[1:]])
    return first_that_binds(name, values)


def _lambda(name: str, over: Value, node: Node, scope: Scope) -> Value:
    if over.kind == "json":
        over = derive(f"CAST({over.sql} AS JSON[])", over, type="JSON[]", risky=True)
    element_type = str(duck_type(f"({over.sql})[1]", over.refs))
    parameters = dict(scope.parameters)
    names = lambda_parameters(node)
    for parameter, kind in zip(names, (element_type, "BIGINT"), strict=False):
        known = quoted(parameter)
        parameters[parameter.lower()] = Value(known, kind, frozenset({(known, kind)}), leaf=True)
    body = lower(node["expr"], Scope(scope.columns, parameters))
    if name.endswith("filter"):
        body = as_boolean(body)
    own = frozenset().union(*(parameters[parameter.lower()].refs for parameter in names))
    listed = ", ".join(quoted(parameter) for parameter in names)
    result = Value(f"{name}({over.sql}, lambda {listed}: {body.sql})", "", over.refs | (body.refs - own), risky=True)
    return msgspec.structs.replace(result, type=str(duck_type(result.sql, result.refs)))


def lambda_parameters(node: Node) -> list[str]:
    """The names a lambda gives its parameters: `x -> …`, `(x, i) -> …`, `lambda x, i: …`."""
    left = node["lhs"]
    nodes = [left] if left["class"] == "COLUMN_REF" else [a["expression"] for a in left.get("arguments", [])]
    if not nodes or any(n["class"] != "COLUMN_REF" or len(n["column_names"]) != 1 for n in nodes):
        raise refused(node)
    return [n["column_names"][0] for n in nodes]


def _arrow(node: Node, scope: Scope) -> Value:
    """`a -> 'x'` outside of a list function: the parser takes JSON's arrow for a lambda."""
    value = lower(node["lhs"], scope)
    first = value if value.kind in ("text", "json", "null") else as_json(value)
    return call("->", [first, lower(node["expr"], scope)])


def _collate(node: Node, scope: Scope) -> Value:
    child = as_text(lower(node["child"], scope))
    if not re.fullmatch(r"[\w.]+", node["collation"]):
        raise refused(node)
    return derive(f"({child.sql} COLLATE {node['collation']})", child, type="VARCHAR")


_NODES: dict[str, Callable[[Node, Scope], Value]] = {
    "CONSTANT": _constant,
    "COMPARISON": _comparison,
    "BETWEEN": _between,
    "CONJUNCTION": _conjunction,
    "CASE": _case,
    "CAST": _cast,
    "OPERATOR": _operator,
    "FUNCTION": _function,
    "LAMBDA": _arrow,
    "COLLATE": _collate,
}
