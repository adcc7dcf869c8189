"""What a column can hold of what an expression gives.

| an expression's type | the column's |
|---|---|
| BOOLEAN, VARCHAR, DATE, BIGINT, DOUBLE, DECIMAL, JSON, TIMESTAMP WITH TIME ZONE | the same |
| the other integers | BIGINT; NULL beyond its range |
| FLOAT | DOUBLE |
| TIMESTAMP of any precision | TIMESTAMP WITH TIME ZONE, read as UTC |
| STRUCT | a column a leaf |
| LIST, ARRAY of a scalar or STRUCT | a list of the above; anything deeper that is JSON or a map: JSON |
| MAP, UNION, VARIANT, a struct without names | JSON |
| INTERVAL, TIME, UUID, BLOB, BIT, ENUM, … | VARCHAR |
"""

from __future__ import annotations

import re
from typing import Any

from flows.columns import Path, literal, quoted
from flows.expression.values import duck_type

_SAME = re.compile(r"(BOOLEAN|VARCHAR|DATE|BIGINT|DOUBLE|JSON|TIMESTAMP WITH TIME ZONE|DECIMAL\(\d+,\d+\))$")
_INTEGER = re.compile(r"U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)$")


def leaves(sql: str, type_text: str) -> list[tuple[Path, str, str]]:
    """(path below, SQL, type) of each leaf of the value `sql`; a scalar or a list is one leaf with the path `()`."""
    return _leaves(sql, duck_type(f"CAST(NULL AS {type_text})", frozenset()))


def _leaves(sql: str, kind: Any) -> list[tuple[Path, str, str]]:
    if kind.id == "struct" and all(name for name, _ in kind.children):
        found = []
        for name, child in kind.children:
            for path, below, text in _leaves(f"struct_extract({sql}, {literal(name)})", child):
                found.append(((name, *path), below, text))
        return found
    target = _held(kind)
    if target == str(kind):
        return [((), sql, target)]
    if target == "JSON":
        return [((), f"to_json({sql})", target)]
    return [((), f"TRY_CAST({sql} AS {target})", target)]


def _held(kind: Any) -> str:
    text = str(kind)
    if _SAME.match(text):
        return text
    if _INTEGER.match(text):
        return "BIGINT"
    if text == "FLOAT":
        return "DOUBLE"
    if text.startswith("TIMESTAMP"):
        return "TIMESTAMP WITH TIME ZONE"
    if kind.id in ("list", "array"):
        below = _held(kind.children[0][1])
        return "JSON" if below == "JSON" else f"{below}[]"
    if kind.id == "struct" and all(name for name, _ in kind.children):
        fields = [(name, _held(child)) for name, child in kind.children]
        if any(child == "JSON" for _, child in fields):
            return "JSON"
        return "STRUCT(" + ", ".join(f"{quoted(name)} {child}" for name, child in fields) + ")"
    if kind.id in ("struct", "map", "union", "variant"):
        return "JSON"
    return "VARCHAR"
