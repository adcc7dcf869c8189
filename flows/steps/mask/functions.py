"""The functions that a compiled `mask` calls, on the connection that runs it: over Arrow arrays, of few rows.

No secret is in a query's text: `hmac` is SHA-256 twice (RFC 2104) over variables of the connection.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache

import duckdb
import msgspec
import pyarrow as pa

from flows.columns import quoted
from flows.steps.mask.pii import mask_pii
from flows.steps.mask.settings import Mask, Rules, rules_of
from flows.steps.mask.values import key_id, mask_address, mask_json
from flows.steps.targets import parse_path

_BLOCK = 64  # bytes of SHA-256's block


def install_masks(engine: duckdb.DuckDBPyConnection, steps: Iterable[object], key: str | None) -> None:
    """Gives `engine` what the `mask` steps among `steps` call; `key` is the stream's `mask_key`."""
    masks = [step for step in steps if isinstance(step, Mask)]
    if not masks:
        return
    _install(engine, "mask_pii", ["VARCHAR"], lambda texts: _each(texts, mask_pii))
    _install(engine, "mask_address", ["VARCHAR"], lambda texts: _each(texts, mask_address))
    if key is not None:
        block = hashlib.sha256(key.encode()).digest() if len(key.encode()) > _BLOCK else key.encode()
        for name, pad in (("in", 0x36), ("out", 0x5C)):
            padded = bytes(byte ^ pad for byte in block.ljust(_BLOCK, b"\0"))
            engine.execute(f"SET VARIABLE {quoted(f'mask_{name}_{key_id(key)}')} = from_hex('{padded.hex()}')")
    for step in masks:
        _install(engine, json_function(step, key), ["VARCHAR", "VARCHAR"], _json_masker(rules_of(step), key))


def json_function(step: Mask, key: str | None) -> str:
    """The name of the function (path of a value, its JSON text) → the JSON text as `step` masks it."""
    said = msgspec.json.encode([list(step.fields.items()), key_id(key) if key is not None else None])
    return f"mask_json_{hashlib.sha256(said).hexdigest()[:16]}"


def _install(engine: duckdb.DuckDBPyConnection, name: str, takes: list[str], function: Callable[..., pa.Array]) -> None:
    with suppress(duckdb.NotImplementedException):  # it has one of this name, and names tell them apart
        engine.create_function(name, function, takes, "VARCHAR", type="arrow")


def _each(texts: pa.ChunkedArray, masked: Callable[[str], str]) -> pa.Array:
    """`masked` of each distinct text."""
    known: dict[str, str] = {}
    found: list[str | None] = []
    for text in texts.to_pylist():
        if text is not None and text not in known:
            known[text] = masked(text)
        found.append(None if text is None else known[text])
    return pa.array(found, pa.string())


def _json_masker(rules: Rules, key: str | None) -> Callable[[pa.ChunkedArray, pa.ChunkedArray], pa.Array]:
    at = lru_cache(maxsize=1000)(lambda path: rules.at(parse_path(path)))

    def mask(paths: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.Array:
        pairs = zip(paths.to_pylist(), values.to_pylist(), strict=True)
        return pa.array([None if text is None else mask_json(text, at(path), key) for path, text in pairs], pa.string())

    return mask
