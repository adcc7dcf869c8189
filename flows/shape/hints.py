"""A value as the type that the configuration asks for, where that type holds it exactly.

A hinted column is read as JSON and cast here, because SQL's own casts round (2.5 becomes 3) and guess ('yes' is true).
Numbers written as text are taken, as senders of amounts do. A fraction in JSON is a double (RFC 8259, section 6): one
with more digits than a double has must be sent as text to reach a DECIMAL whole.
"""

from __future__ import annotations

from flows.columns import literal

_INTEGER = "[-+]?[0-9]+([.]0*)?"
_NUMBER = "[-+]?[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+)?"
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_INSTANT = _DAY + "([Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6}0*)?)?([Zz]|[-+][0-9]{2}(:?[0-9]{2})?)?)?"
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "INT", "BIGINT", "HUGEINT")


def hinted(value: str, hint: str, depth: int = 0) -> str:
    """The SQL of type `hint` for `value` (an SQL expression of type JSON); NULL where the type does not hold it exactly."""
    kind = hint.upper()
    if kind == "JSON":
        return value
    if kind.endswith("[]"):
        return _list(value, hint[:-2], depth)
    if kind.startswith("STRUCT"):
        typed = f"TRY_CAST({value} AS {hint})"
        return f"CASE WHEN to_json({typed})::VARCHAR = {value}::VARCHAR THEN {typed} END"
    text = f"({value} ->> '$')"
    typed = f"TRY_CAST({text} AS {hint})"
    exact = _exact(text, typed, kind)
    return f"CASE WHEN {exact} THEN {typed} END" if exact else typed


def _exact(text: str, typed: str, kind: str) -> str:
    """The SQL condition for `typed` being just what `text` says; empty where it always is."""
    if kind.startswith(("DECIMAL", "NUMERIC")):
        scale = int(kind.rstrip(")").split(",")[1]) if "," in kind else 0 if "(" in kind else 3
        return _matches(text, f"[-+]?[0-9]+([.][0-9]{{0,{scale}}}0*)?")
    if kind in _INTEGERS:
        return _matches(text, _INTEGER)
    if kind in ("DOUBLE", "FLOAT"):
        # Digits alone are exact when the number they become is written with the same digits.
        same = f"TRY_CAST({typed} AS HUGEINT)::VARCHAR = {text}"
        fraction = "isfinite({0})" if kind == "DOUBLE" else "{0}::DOUBLE = TRY_CAST({1} AS DOUBLE)"
        whole = _matches(text, "-?[1-9][0-9]{7,}")
        return f"{_matches(text, _NUMBER)} AND CASE WHEN {whole} THEN {same} ELSE {fraction.format(typed, text)} END"
    if kind == "DATE":
        return _matches(text, _DAY)
    if kind.startswith("TIMESTAMP"):
        return _matches(text, _INSTANT)
    return f"{text} IN ('true', 'false')" if kind == "BOOLEAN" else ""


def _list(value: str, element: str, depth: int) -> str:
    each = f"h{depth}"
    elements = f"json_transform({value}, '[\"JSON\"]')"
    typed = hinted(each, element, depth + 1)
    lost = f"[1 FOR {each} IN {elements} IF {each} IS NOT NULL AND {each}::VARCHAR <> 'null' AND ({typed}) IS NULL]"
    kept = f"[{typed} FOR {each} IN {elements}]"
    return f"CASE WHEN json_type({value}) = 'ARRAY' AND len({lost}) = 0 THEN {kept} END"


def _matches(text: str, pattern: str) -> str:
    return f"regexp_full_match({text}, {literal(pattern)})"
