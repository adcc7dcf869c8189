"""The aggregates of one step: what they keep of each event, and the SQL that computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from flows.columns import Columns
from flows.expression.aggregate import Call, result, take_apart
from flows.expression.compiled import compile_node
from flows.expression.syntax import Node
from flows.expression.values import Value, as_text, derive, duck_type
from flows.stateful.slots import NOTHING, condition_slot, number_slot, presence_slot, value_slot

_ORDERED = frozenset({"first", "last"})
_VALUES = _ORDERED | {"min", "max"}


class Result(msgspec.Struct, frozen=True):
    """An aggregate of the configuration: SQL over what the calls gave, and its DuckDB type."""

    name: str
    sql: str
    type: str


class Aggregates:
    """Aggregates by name. Each call among them is computed once, however often it is written.

    A call keeps at most one slot of an event (`flows.stateful.slots`): NULL where its FILTER is not true. `count(*)` keeps none.
    """

    def __init__(self, expressions: Mapping[str, str]) -> None:
        """Raises InvalidExpression for what `check_aggregate` refuses."""
        self.calls: list[Call] = []
        self._outer: dict[str, tuple[Node, str]] = {}
        places: dict[bytes, int] = {}
        for name, text in expressions.items():
            taken = take_apart(text)
            renamed = {}
            for number, call in enumerate(taken.calls):
                place = places.setdefault(_written(call), len(self.calls))
                if place == len(self.calls):
                    self.calls.append(call)
                renamed[result(number)] = result(place)
            self._outer[name] = (_renamed(taken.outer, renamed), text)
        self.names = [f"x{n}" for n, call in enumerate(self.calls) if call.argument or call.condition]

    def slots(self, columns: Columns) -> list[Value]:
        """What is kept of an event with these columns: a slot for each of `names`."""
        return [_slot(call, columns) for call in self.calls if call.argument or call.condition]

    def computed(self, types: Sequence[str], order: str) -> list[tuple[str, str]]:
        """Each call's SQL over slots of these types, and the type it gives (see `call_sql`)."""
        kinds = dict(zip(self.names, types, strict=True))
        named = [(call, f"x{n}") for n, call in enumerate(self.calls)]
        return [call_sql(call, name, kinds.get(name, NOTHING), order) for call, name in named]

    def results(self, types: Sequence[str]) -> list[Result]:
        """The aggregates over columns `result(n)` of these types, one a call."""
        columns: Columns = {(result(number),): kind for number, kind in enumerate(types)}
        compiled = {name: compile_node(outer, text, columns) for name, (outer, text) in self._outer.items()}
        return [Result(name, one.sql, one.type) for name, one in compiled.items()]


def call_sql(call: Call, slot: str, kind: str, order: str) -> tuple[str, str]:
    """The SQL of a call over a column `slot` of type `kind`, up to what may follow (OVER …), and the type it gives.

    `order` sorts the events of `first` and `last`.
    """
    if call.function == "count":
        if call.argument is None and call.condition is None:
            return "count(*)", "BIGINT"
        return (f"count(DISTINCT {slot})" if call.distinct else f"count({slot})"), "BIGINT"
    if kind == NOTHING:
        return f"any_value({slot})", NOTHING
    if call.function in _ORDERED:
        return f"{call.function}({slot} ORDER BY {order})", kind
    fraction = f", {call.fraction}" if call.fraction else ""
    sql = f"{call.function}({slot}{fraction})"
    return sql, str(duck_type(sql, frozenset({(slot, kind)})))


def _slot(call: Call, columns: Columns) -> Value:
    condition = Value("true", "BOOLEAN")
    if call.condition is not None:
        condition = condition_slot(_value(call.condition, columns, condition=True))
    if call.argument is None:
        return condition
    kept = _reading(call)(_value(call.argument, columns))
    if call.condition is None or kept.kind == "null":
        return kept
    return derive(f"CASE WHEN {condition.sql} THEN {kept.sql} END", kept, condition, type=kept.type)


def _reading(call: Call) -> Callable[[Value], Value]:
    if call.function == "count":
        return as_text if call.distinct else presence_slot
    return value_slot if call.function in _VALUES else number_slot


def _value(node: Node, columns: Columns, *, condition: bool = False) -> Value:
    compiled = compile_node(node, "an aggregate", columns, condition=condition)
    return Value(compiled.sql, compiled.type)


def _written(call: Call) -> bytes:
    """What a call says, wherever it stands."""
    return msgspec.json.encode(_placeless(msgspec.to_builtins(call)), order="deterministic")


def _placeless(node: Any) -> Any:
    if isinstance(node, list):
        return [_placeless(part) for part in node]
    if isinstance(node, dict):
        return {key: _placeless(part) for key, part in node.items() if not key.startswith("query_location")}
    return node


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, list):
        return [_renamed(part, names) for part in node]
    if not isinstance(node, dict):
        return node
    if node.get("class") == "COLUMN_REF":
        return node | {"column_names": [names.get(name, name) for name in node["column_names"]]}
    return {key: _renamed(part, names) for key, part in node.items()}
