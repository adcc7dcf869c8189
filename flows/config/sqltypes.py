"""The types that `types:` can name: DuckDB's, as far as a JSON event can fill them and a Delta table can hold them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from flows.columns import Path, dotted
from flows.config.report import did_you_mean

if TYPE_CHECKING:
    import duckdb

_HELD = {
    "boolean", "tinyint", "smallint", "integer", "bigint", "float", "double", "decimal", "varchar", "date",
    "timestamp with time zone",
}  # fmt: skip
_CONVERTED = {"timestamp": "TIMESTAMP WITH TIME ZONE"}  # a timestamp of an event is an instant; without an offset, UTC
_INSTEAD = {
    "hugeint": "DECIMAL(38,0)",
    "uhugeint": "DECIMAL(38,0)",
    "utinyint": "SMALLINT",
    "usmallint": "INTEGER",
    "uinteger": "BIGINT",
    "ubigint": "DECIMAL(20,0)",
    "map": "JSON, or a STRUCT of its fields",
    "union": "JSON",
    "variant": "JSON",
    "array": "a list, such as DOUBLE[]",
    "timestamp_s": "TIMESTAMP",
    "timestamp_ms": "TIMESTAMP",
    "timestamp_ns": "TIMESTAMP",
}
_NAMES = (
    "BOOLEAN", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "DECIMAL", "VARCHAR", "TEXT", "STRING", "DATE", "TIMESTAMP",
    "TIMESTAMPTZ", "JSON", "STRUCT",
)  # fmt: skip


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    import duckdb

    return duckdb.connect(":memory:", config={"enable_external_access": False, "threads": 1})


@cache
def canonical(text: str) -> str:
    """The type as DuckDB spells it; ValueError where DuckDB does not know it or a table cannot hold it."""
    import duckdb

    try:
        kind = _parser().type(text)
        return _spelled(kind)
    except (duckdb.Error, RuntimeError) as exc:
        first = str(exc).splitlines()[0] if "width" in str(exc) else ""
        reason = first.partition("Error: ")[2]
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise ValueError(f"{shown!r} is not a type" + (f": {reason}" if reason else f"; {_near(text)}")) from None


def leaves(path: Path, text: str) -> dict[str, str]:
    """The leaf columns that a type at `path` stands for, by dotted path: a STRUCT's are those of its fields."""
    kind = _parser().type(text)
    if kind.id != "struct":
        return {dotted(path): text}
    return {
        leaf: leaf_type
        for name, child in kind.children
        for leaf, leaf_type in leaves((*path, name), _spelled(child)).items()
    }


def _spelled(kind: duckdb.DuckDBPyType) -> str:
    if kind.id == "struct":
        return "STRUCT(" + ", ".join(f"{_identifier(name)} {_spelled(child)}" for name, child in kind.children) + ")"
    if kind.id == "list":
        return f"{_spelled(kind.children[0][1])}[]"
    if kind.id in _CONVERTED:
        return _CONVERTED[kind.id]
    if kind.id not in _HELD:
        instead = _INSTEAD.get(kind.id, "VARCHAR")
        raise ValueError(f"a table cannot hold a {str(kind)[:60]}; use {instead}")
    return str(kind)


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _near(text: str) -> str:
    name = text.partition("(")[0].strip().upper()
    if name == "STRUCT":
        return 'write STRUCT("name" TYPE, …); quote a field whose name is a word of SQL'
    return "" if name in _NAMES else did_you_mean(name, _NAMES) or ""
