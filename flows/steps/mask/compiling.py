"""`mask` as SQL: one expression a column that a rule reaches, by the column's type."""

from __future__ import annotations

from typing import Any

from flows.columns import EXTRA, EXTRA_TYPE, NO_EXTRA, Path, column, dotted, literal, quoted
from flows.expression.values import duck_type
from flows.steps.layer import DROP, Layer
from flows.steps.mask.functions import json_function
from flows.steps.mask.pii import CANDIDATE
from flows.steps.mask.settings import Mask, MaskKind, Rules, rules_of
from flows.steps.mask.values import REDACTED, key_id

_ADDRESS = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_FRACTIONS = ("DOUBLE", "FLOAT")


def compile_mask(step: Mask, layer: Layer, key: str | None) -> Layer:
    """The columns masked, and what `_extra` holds of their paths; a masked value that is no text becomes one.

    `key` is the stream's `mask_key`. Raises ValueError for a path that cannot be masked, and for `hmac` without a key.
    """
    if key is None and "hmac" in step.fields.values():
        raise ValueError("hmac needs a mask_key")
    rules = rules_of(step)
    masking = _Masking(json_function(step, key), key_id(key) if key is not None else "")
    columns = dict(layer.columns)
    items, found_in = [], []
    for path, kind in layer.columns.items():
        name = column(path)
        here = rules.at(path) if path[0] in ("event", "metadata") else Rules(())
        if not here.left or path == EXTRA:
            continue
        if here.kind == "pii" and _is_number(kind):
            found = f"({_card_like(name, kind)})"
            found_in.append((path, found))
            items.append(f"CASE WHEN {found} THEN NULL ELSE {name} END AS {name}")
            continue
        sql, columns[path] = masking.value(name, duck_type(f"CAST(NULL AS {kind})", frozenset()), here, path)
        items.append(f"{layer.guarded(sql)} AS {name}")
    masked = {item.rpartition(" AS ")[2] for item in items}
    carried = [column(path) for path in columns if path != EXTRA and column(path) not in masked]
    if columns.get(EXTRA) == NO_EXTRA and not found_in:
        items.append(column(EXTRA))
    elif EXTRA in columns:
        columns[EXTRA] = EXTRA_TYPE
        items.append(f"{masking.rescued(found_in)} AS {column(EXTRA)}")
    return layer.select([*carried, *items, *([DROP] if layer.drops else [])], columns=columns)


class _Masking:
    def __init__(self, json_function: str, key: str) -> None:
        self._json = json_function
        self._key = key

    def value(self, sql: str, kind: Any, rules: Rules, path: Path, depth: int = 0) -> tuple[str, str]:
        """(SQL, type) of the value `sql` masked, all the way down."""
        text = str(kind)
        if not rules.left:
            return sql, text
        if text == "JSON":
            masked = f"{self._json}({literal(dotted(path))}, CAST({sql} AS VARCHAR))"
            return f"CAST({masked} AS JSON)", "JSON"
        if kind.id == "list":
            return self._list(sql, kind, rules, path, depth)
        if kind.id == "struct":
            return self._struct(sql, kind, rules, path, depth)
        if rules.kind is None:
            return sql, text
        if rules.kind == "null":
            return f"CAST(NULL AS {text})", text
        if rules.kind == "pii" and text != "VARCHAR":
            return sql, text  # a number in a column of its own is looked at by the caller
        return self.text(_as_text(sql, text), rules.kind), "VARCHAR"

    def text(self, text: str, kind: MaskKind) -> str:
        """SQL of a text masked."""
        match kind:
            case "last4":
                many = f"repeat('*', length({text}) - 4) || right({text}, 4)"
                return f"CASE WHEN length({text}) > 4 THEN {many} ELSE repeat('*', length({text})) END"
            case "hash":
                return f"sha256({text})"
            case "hmac":
                inner, outer = (f"getvariable({literal(f'mask_{name}_{self._key}')})" for name in ("in", "out"))
                return f"{literal(self._key + ':')} || sha256({outer} || unhex(sha256({inner} || encode({text}))))"
            case "ip24":
                whole = literal(rf"{_ADDRESS}\.{_ADDRESS}\.{_ADDRESS}\.{_ADDRESS}")
                zeroed = f"regexp_replace({text}, '[0-9]+$', '0')"
                return f"CASE WHEN regexp_full_match({text}, {whole}) THEN {zeroed} ELSE mask_address({text}) END"
            case "pii":
                found = f"regexp_matches({text}, {literal(CANDIDATE)})"
                return f"CASE WHEN {found} THEN mask_pii({text}) ELSE {text} END"
            case _:
                return f"CASE WHEN {text} IS NOT NULL THEN {literal(REDACTED)} END"

    def _list(self, sql: str, kind: Any, rules: Rules, path: Path, depth: int) -> tuple[str, str]:
        each = quoted(f"m{depth}")
        element = kind.children[0][1]
        inside = rules.inside()
        if inside.kind == "pii" and _is_number(str(element)):
            cards = f"len(list_filter({sql}, lambda {each}: {_card_like(each, str(element))})) > 0"
            return f"CASE WHEN {cards} THEN NULL ELSE {sql} END", str(kind)
        masked, below = self.value(each, element, inside, path, depth + 1)
        return f"list_transform({sql}, lambda {each}: {masked})", f"{below}[]"

    def _struct(self, sql: str, kind: Any, rules: Rules, path: Path, depth: int) -> tuple[str, str]:
        each = quoted(f"m{depth}")  # names the struct once, or the query doubles with every level
        fields, types = [], []
        for name, child in kind.children:
            value = f"struct_extract({each}, {literal(name)})"
            below = rules.below(name)
            if below.kind == "pii" and _is_number(str(child)):
                masked, text = f"CASE WHEN {_card_like(value, str(child))} THEN NULL ELSE {value} END", str(child)
            else:
                masked, text = self.value(value, child, below, (*path, name), depth + 1)
            fields.append(f"{quoted(name)} := {masked}")
            types.append(f"{quoted(name)} {text}")
        packed = f"CASE WHEN {each} IS NOT NULL THEN struct_pack({', '.join(fields)}) END"
        return f"list_transform([{sql}], lambda {each}: {packed})[1]", f"STRUCT({', '.join(types)})"

    def rescued(self, carded: list[tuple[Path, str]]) -> str:
        """SQL of `_extra` masked, with a mark for each number column that held a card."""
        name = column(EXTRA)
        masked = f"CAST({self._json}(e.key, CAST(e.value AS VARCHAR)) AS JSON)"
        entries = f"list_transform(map_entries({name}), lambda e: struct_pack(key := e.key, value := {masked}))"
        kept = f"list_filter({entries}, lambda e: CAST(e.value AS VARCHAR) <> 'null')"
        rest = f"CASE WHEN {name} IS NOT NULL THEN CAST(map_from_entries({kept}) AS {EXTRA_TYPE}) END"
        if not carded:
            return rest
        marks = ", ".join(
            f"CASE WHEN {found} THEN struct_pack(key := {literal(dotted(path))}, value := '\"[card]\"'::JSON) END"
            for path, found in carded
        )
        marked = f"list_filter([{marks}], lambda e: e IS NOT NULL)"
        whole = f"CAST(map_from_entries(list_concat({marked}, coalesce({kept}, []))) AS {EXTRA_TYPE})"
        return f"CASE WHEN {' OR '.join(found for _, found in carded)} THEN {whole} ELSE {rest} END"


def _is_number(kind: str) -> bool:
    return kind.startswith("DECIMAL") or kind in ("BIGINT", "HUGEINT", *_FRACTIONS)


def _card_like(sql: str, kind: str) -> str:
    """SQL of whether a number is a payment card's; the range is looked at first, for it rules out nearly all."""
    return f"CASE WHEN {sql} >= 2e12 THEN mask_pii({_as_text(sql, kind)}) = '[card]' ELSE false END"


def _as_text(sql: str, kind: str) -> str:
    """The text of a scalar: a whole number without a fraction."""
    if kind == "VARCHAR":
        return sql
    if kind in _FRACTIONS or kind.startswith("DECIMAL"):
        whole = f"{sql} = trunc({sql}) AND abs({sql}) < 1e18"
        return f"CASE WHEN {whole} THEN CAST(TRY_CAST({sql} AS BIGINT) AS VARCHAR) ELSE CAST({sql} AS VARCHAR) END"
    return f"CAST({sql} AS VARCHAR)"
