"""From the tree of an expression to SQL over flat columns, with every conversion spelled out.

Bottom up: each node becomes a `Value` whose type is known, so a comparison can read its path as the literal's type and
a function can be given what it takes. Only nodes named here pass; `flows.expression.check` has refused the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import duckdb
import msgspec

from flows.columns import RECEIVED_AT, TIMESTAMP, Columns, Path, column, literal, quoted
from flows.expression import functions
from flows.expression.syntax import ExpressionProblem, InvalidExpression, Node, run
from flows.expression.values import (
    NULL,
    Value,
    as_boolean,
    as_instant,
    as_json,
    as_number,
    as_text,
    derive,
    duck_type,
    element,
    field,
    struct_of,
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
_LIKE = {"~~": "LIKE", "!~~": "NOT LIKE", "~~*": "ILIKE", "!~~*": "NOT ILIKE", "~~~": "GLOB"}
_INFIX = functions.words("+ - * / // % ** ^ || & | << >> && @> <@ ^@ <->")


class Scope(msgspec.Struct, frozen=True):
    """What names mean: the columns of the layer below, and the parameters of the lambdas around."""

    columns: Columns
    parameters: Mapping[str, Value] = {}


def lower(node: Node, scope: Scope) -> Value:
    """The SQL of a node. Raises duckdb.Error where it does not bind, InvalidExpression where it is refused."""
    path = as_path(node)
    if path is not None:
        return _resolve(path, scope)
    compile_node = _NODES.get(node["class"])
    if compile_node is None:
        raise refused(node)
    return compile_node(node, scope)


def refused(node: Node) -> InvalidExpression:
    name = str(node.get("function_name") or node.get("type", node.get("class"))).lower().replace("_", " ")
    return InvalidExpression(ExpressionProblem(f"{name} cannot be used in an expression"))


def resolve_names(path: Path, columns: Columns) -> Path:
    """The path with the names that are there: as written where it exists so, else whatever the case of its letters."""
    found: tuple[str, ...] = ()
    for depth in range(len(path)):
        below = {known[depth] for known in columns if len(known) > depth and known[:depth] == found}
        part = path[depth]
        if part not in below:
            part = min((name for name in below if name.lower() == part.lower()), default=part)
        found = (*found, part)
    return found


def as_path(node: Node) -> Path | None:
    """`event.a`, `event['a b']` and `(event).a` are one and the same path."""
    if node["class"] == "COLUMN_REF":
        return tuple(node["column_names"])
    if node["type"] in ("ARRAY_EXTRACT", "STRUCT_EXTRACT") and node["class"] == "OPERATOR":
        base, key = node["children"]
        parts = as_path(base)
        if parts is not None and key["class"] == "CONSTANT" and key["literal"]["kind"] == "STRING":
            return (*parts, key["literal"]["text"])
    return None


def _resolve(path: Path, scope: Scope) -> Value:
    parameter = scope.parameters.get(path[0].lower())
    if parameter is not None:
        value = parameter
        for name in path[1:]:
            value = field(value, name)
        return value
    for candidate in (path, resolve_names(path, scope.columns), _folded(path, scope.columns)):
        for length in range(len(candidate), 0, -1):
            kind = scope.columns.get(candidate[:length])
            if kind is not None:
                name = column(candidate[:length])
                value = Value(name, kind, frozenset({(name, kind)}), leaf=True)
                for part in candidate[length:]:
                    value = field(value, part)
                return value
        if any(known[: len(candidate)] == candidate for known in scope.columns):
            return _interior(candidate, scope.columns)
    return NULL


def _folded(path: Path, columns: Columns) -> Path:
    wanted = tuple(part.lower() for part in path)
    same = [known[: len(path)] for known in columns if tuple(part.lower() for part in known[: len(path)]) == wanted]
    return min(same, default=path)


def _interior(path: Path, columns: Columns) -> Value:
    fields: dict[str, Value] = {}
    for known, kind in columns.items():
        if known[: len(path)] == path:
            part = known[len(path)]
            if part not in fields:
                below = (*path, part)
                name = column(below)
                leaf = Value(name, kind, frozenset({(name, kind)}), leaf=True)
                fields[part] = leaf if known == below else _interior(below, columns)
    return struct_of(list(fields.items()))


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


def compare(operator: str, left: Value, right: Value) -> Value:
    """A comparison that reads a path as the type of the literal beside it."""
    left, right = _alike(left, right)
    return derive(f"({left.sql} {operator} {right.sql})", left, right, type="BOOLEAN", risky=_may_overflow(left, right))


def _may_overflow(left: Value, right: Value) -> bool:
    return left.type != right.type and (left.type.startswith("DECIMAL") or right.type.startswith("DECIMAL"))


def _alike(left: Value, right: Value) -> tuple[Value, Value]:
    if right.constant and not left.constant:
        return _as_literal(left, right)
    if left.constant and not right.constant:
        right, left = _as_literal(right, left)
        return left, right
    kinds = {left.kind, right.kind}
    if "null" in kinds or (len(kinds) == 1 and not kinds & {"json", "other"}):
        return left, right
    if "temporal" in kinds and kinds <= {"temporal", "text", "json"}:
        target = left.type if left.kind == "temporal" else right.type
        return as_instant(left, target), as_instant(right, target)
    if "number" in kinds:
        return as_number(left), as_number(right)
    if "boolean" in kinds:
        return as_boolean(left), as_boolean(right)
    if "other" in kinds and left.type != right.type:
        return as_text(left), as_text(right)
    return (as_text(left), as_text(right)) if "json" in kinds else (left, right)


def _as_literal(value: Value, constant: Value) -> tuple[Value, Value]:
    kind = constant.kind
    if kind == "number":
        return as_number(value, constant), constant
    if kind == "boolean":
        return as_boolean(value), constant
    if kind == "text":
        if value.kind == "temporal":
            return value, as_instant(constant, value.type)
        if value.kind == "interval":
            return value, derive(f"TRY_CAST({constant.sql} AS INTERVAL)", constant, type="INTERVAL")
        if value.kind == "number" and not value.leaf and _is_number(constant):
            return value, as_number(constant)
        return as_text(value), constant
    if kind == "temporal":
        return as_instant(value, constant.type), constant
    if kind == "json":
        return as_text(value), as_text(constant)
    if kind == "null" or value.type == constant.type:
        return value, constant
    return derive(f"TRY_CAST({value.sql} AS {constant.type})", value), constant


def _is_number(constant: Value) -> bool:
    return bool(run(f"SELECT {as_number(constant).sql} IS NOT NULL")[0][0])


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
    *thens, otherwise = _unified([*thens, lower(node["else_expr"], scope)])
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


def _unified(values: list[Value]) -> list[Value]:
    """Values that share a type: JSON where one is JSON, else an instant beside constant text, else text."""
    kinds = {value.kind for value in values} - {"null"}
    if len(kinds) < 2:
        return values
    if "json" in kinds:
        return [as_json(value) for value in values]
    if kinds == {"temporal", "text"} and all(v.constant for v in values if v.kind == "text"):
        target = next(value.type for value in values if value.kind == "temporal")
        return [as_instant(value, target) for value in values]
    if "text" in kinds or kinds >= {"number", "boolean"}:
        return [as_text(value) for value in values]
    return values


def _operator(node: Node, scope: Scope) -> Value:
    kind, nodes = node["type"], node["children"]
    values = [lower(child, scope) for child in nodes]
    if kind == "OPERATOR_NOT":
        return derive(f"(NOT {as_boolean(values[0]).sql})", values[0], type="BOOLEAN")
    if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
        word = "IS NULL" if kind == "OPERATOR_IS_NULL" else "IS NOT NULL"
        return derive(f"({values[0].sql} {word})", values[0], type="BOOLEAN")
    if kind == "OPERATOR_COALESCE":
        values = _unified(values)
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
        values = [as_boolean(values[0]), *_unified(values[1:])] if name == "if" else _unified(values)
    if name in functions.CLAMPED and len(values) > 1:
        length = f"least(TRY_CAST({as_number(values[1]).sql} AS BIGINT), {functions.MAX_LENGTH})"
        values[1] = derive(f"CAST(greatest({length}, 0) AS INTEGER)", values[1], type="INTEGER")
    if name in ("->", "->>") or name.startswith("json_"):
        first = values[0] if values[0].kind in ("text", "json", "null") else as_json(values[0])
        return _call(name, [first, *values[1:]])
    return _first_that_binds(name, values)


def _first_that_binds(name: str, values: list[Value]) -> Value:
    readings: list[Callable[[Value], Value]] = [lambda v: as_text(v) if v.kind == "json" else v]
    if name in functions.ARITHMETIC:
        plain = not any(value.kind in ("temporal", "interval", "other") for value in values)
        if plain:
            values = _without_stray_decimals([as_number(value) for value in values])
    elif name in functions.TEMPORAL:
        readings = [lambda v: v if v.constant or v.kind == "number" else as_instant(v)]
    elif name == "||" and not any(value.kind == "other" for value in values):
        readings = [as_text]
    elif name in _LIKE or name.startswith(("regexp_", "string_")):
        readings = [as_text, lambda v: v if v.constant else as_text(v), lambda v: v]
    readings += [
        lambda v: v if v.constant else as_text(v),
        lambda v: v if v.constant else as_number(v),
        lambda v: v if v.constant else as_instant(v),
    ]
    failure: duckdb.Error | None = None
    for reading in readings:
        try:
            return _call(name, [reading(value) for value in values])
        except duckdb.Error as exc:
            failure = failure or exc
    if failure is None:
        raise AssertionError("unreachable: a reading either binds or raises")
    raise failure


def _without_stray_decimals(values: list[Value]) -> list[Value]:
    """`1.08` is a DECIMAL to DuckDB, and a product with it overflows early: DOUBLE, unless a column is a DECIMAL."""
    if any(value.type.startswith("DECIMAL") and not _is_decimal_literal(value) for value in values):
        return values
    return [derive(f"CAST({v.sql} AS DOUBLE)", v, type="DOUBLE") if _is_decimal_literal(v) else v for v in values]


def _is_decimal_literal(value: Value) -> bool:
    return value.type.startswith("DECIMAL") and re.fullmatch(r"-?[\d.]+", value.sql) is not None


def _call(name: str, values: list[Value]) -> Value:
    texts = [value.sql for value in values]
    if name in _LIKE:
        return derive(f"({texts[0]} {_LIKE[name]} {texts[1]})", *values, type="BOOLEAN", risky=True)
    if name in ("->", "->>") or (name in _INFIX and len(texts) == 2):
        return derive(f"({texts[0]} {name} {texts[1]})", *values, risky=True)
    if name in ("-", "+", "@") and len(texts) == 1:
        return derive(f"({name} {texts[0]})", *values, risky=True)
    return derive(f"{quoted(name)}({', '.join(texts)})", *values, risky=True)


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
    return _call("->", [first, lower(node["expr"], scope)])


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

ROOTS = frozenset({TIMESTAMP[0], RECEIVED_AT[0], "source", "stream", "event_id", "event", "metadata"})
"""The names an expression can begin a path with."""
