"""What a `drop` takes out of a JSON document, as a function of the connection: names in any case, lists passed through."""

from __future__ import annotations

import duckdb
import msgspec
import pyarrow as pa

from flows.steps.drop import JSON_DROPPED
from flows.steps.mask.values import Members, read_json, written


def register_drop(engine: duckdb.DuckDBPyConnection) -> None:
    """Adds the function that a compiled `drop` calls to a connection."""
    engine.create_function(JSON_DROPPED, _all_dropped, ["VARCHAR", "VARCHAR"], "VARCHAR", type="arrow")


def _all_dropped(paths: pa.ChunkedArray, texts: pa.ChunkedArray) -> pa.Array:
    known: dict[tuple[str, str], str] = {}
    found = []
    for names, text in zip(paths.to_pylist(), texts.to_pylist(), strict=True):
        if text is not None and (names, text) not in known:
            known[names, text] = written(_dropped(read_json(text), msgspec.json.decode(names, type=list[list[str]])))
        found.append(None if text is None else known[names, text])
    return pa.array(found, pa.string())


def _dropped(value: object, paths: list[list[str]]) -> object:
    if isinstance(value, Members):
        kept = Members()
        for name, member in value:
            below = [path[1:] for path in paths if path[0] == name.lower()]
            if [] not in below:
                kept.append((name, _dropped(member, below) if below else member))
        return kept
    if isinstance(value, list):
        return [_dropped(element, paths) for element in value]
    return value
