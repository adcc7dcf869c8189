"""What SQL cannot say of a text, as functions of DuckDB over Arrow: each distinct text of a chunk is read once."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import duckdb
import msgspec
import pyarrow as pa
import regex

_SECONDS = 5.0  # a backtracking expression may take no longer over one text


def register(engine: duckdb.DuckDBPyConnection) -> None:
    """Adds the functions that a compiled `parse` calls to a connection."""
    for name, read in (("cef_json", _cef), ("query_json", _query), ("structured_data_json", _structured_data)):
        engine.create_function(
            name, _over_distinct(read), ["VARCHAR"], "VARCHAR", type="arrow", null_handling="special"
        )
    agent = "STRUCT(browser_family VARCHAR, browser_version VARCHAR, os_family VARCHAR, os_version VARCHAR, "
    agent += "device_family VARCHAR, device_brand VARCHAR, device_model VARCHAR)"
    engine.create_function("user_agent", _user_agents, ["VARCHAR"], agent, type="arrow", null_handling="special")
    engine.create_function(
        "regex_groups", _groups, ["VARCHAR", "VARCHAR"], "VARCHAR[]", type="arrow", null_handling="special"
    )


def _over_distinct(read: Callable[[str], str | None]) -> Callable[[pa.ChunkedArray], pa.Array]:
    def over(texts: pa.ChunkedArray) -> pa.Array:
        return _mapped(texts, read, pa.string())

    return over


def _mapped(texts: pa.ChunkedArray, read: Callable[[str], Any], kind: pa.DataType) -> pa.Array:
    encoded = pa.chunked_array(texts).combine_chunks() if isinstance(texts, list) else texts
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    distinct = encoded.dictionary_encode()
    values = pa.array([read(text) for text in distinct.dictionary.to_pylist()], kind)
    return values.take(distinct.indices)


def _groups(texts: pa.ChunkedArray, patterns: pa.ChunkedArray) -> pa.Array:
    expression = compiled(patterns[0].as_py())
    names = sorted(expression.groupindex, key=lambda name: int(name[1:]))

    def read(text: str) -> list[str | None] | None:
        try:
            match = expression.search(text, timeout=_SECONDS)
        except TimeoutError:
            return None
        return None if match is None else [match[0], *(match[name] for name in names)]

    return _mapped(texts, read, pa.list_(pa.string()))


@lru_cache(maxsize=256)
def compiled(text: str) -> regex.Pattern[str]:
    """The expression for the engine that backtracks. Raises regex.error."""
    return regex.compile(text, regex.ASCII | regex.V0)


_HEADER = re.compile(
    r"CEF: ?(\d+)\|((?:[^|\\]|\\.)*)\|((?:[^|\\]|\\.)*)\|((?:[^|\\]|\\.)*)\|((?:[^|\\]|\\.)*)\|", re.DOTALL
)
_HEADER_END = re.compile(r"((?:[^|\\]|\\.)*)\|((?:[^|\\]|\\.)*)(?:\|(.*))?\Z", re.DOTALL)
_EXTENSION = re.compile(r"(?:^|(?<=\s))([\w.\[\]-]+)(?<!\\)=")
_ESCAPED = re.compile(r"\\([\\|=nr])")  # what else follows a backslash was not escaped: C:\Windows
_NAMES = ("cefVersion", "deviceVendor", "deviceProduct", "deviceVersion", "deviceEventClassId", "name", "severity")


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: {"n": "\n", "r": "\r"}.get(match[1], match[1]), text)


def _cef(text: str | None) -> str | None:
    """Common Event Format: seven header fields and an extension of `key=value`, as one flat JSON object."""
    begun = _HEADER.search(text) if text else None
    ended = _HEADER_END.match(text, begun.end()) if text and begun else None
    if begun is None or ended is None:
        return None
    fields = dict(
        zip(_NAMES, [*map(_unescaped, begun.groups()), _unescaped(ended[1]), _unescaped(ended[2])], strict=True)
    )
    extension = ended[3] or ""
    keys = list(_EXTENSION.finditer(extension))
    if extension.strip() and (not keys or extension[: keys[0].start()].strip()):
        return None
    ends = [key.start() for key in keys[1:]] + [len(extension)]
    for key, end in zip(keys, ends, strict=False):  # without a key there is still an end
        fields[key[1]] = _unescaped(extension[key.end() : end].strip())
    return msgspec.json.encode(fields).decode()


def _query(text: str | None) -> str | None:
    """The parameters of a URL's query as a JSON object; a repeated one becomes a list."""
    if text is None:
        return None
    found: dict[str, Any] = {}
    for name, value in parse_qsl(text.removeprefix("?"), keep_blank_values=True, errors="replace"):
        if name in found:
            before = found[name]
            found[name] = [*before, value] if isinstance(before, list) else [before, value]
        else:
            found[name] = value
    return msgspec.json.encode(found).decode() if found else None


_ELEMENT = re.compile(r'\[([^\s=\]"]+)((?: +[^\s=\]"]+="(?:[^"\\\]]|\\.)*")*)\s*\]')
_PARAMETER = re.compile(r'([^\s=\]"]+)="((?:[^"\\\]]|\\.)*)"')


def _structured_data(text: str | None) -> str | None:
    """RFC 5424, section 6.3, as a JSON object of objects."""
    if not text or text == "-":
        return None
    found = {
        name: {key: re.sub(r'\\(["\\\]])', r"\1", value) for key, value in _PARAMETER.findall(parameters)}
        for name, parameters in _ELEMENT.findall(text)
    }
    return msgspec.json.encode(found).decode()


USER_AGENT_FIELDS = (
    "browser_family",
    "browser_version",
    "os_family",
    "os_version",
    "device_family",
    "device_brand",
    "device_model",
)
"""What `user_agent` finds, each a text."""


def _user_agents(texts: pa.ChunkedArray) -> pa.Array:
    return _mapped(texts, _user_agent, pa.struct([(name, pa.string()) for name in USER_AGENT_FIELDS]))


@lru_cache(maxsize=50_000)
def _user_agent(text: str | None) -> dict[str, str | None] | None:
    if text is None:
        return None
    from ua_parser import parse  # here: its rules take a while to load, which few pipelines need

    found = parse(text)
    browser, system, device = found.user_agent, found.os, found.device
    if browser is None and system is None and device is None:
        return None
    return {
        "browser_family": None if browser is None else browser.family,
        "browser_version": _version(browser),
        "os_family": None if system is None else system.family,
        "os_version": _version(system),
        "device_family": None if device is None else device.family,
        "device_brand": None if device is None else device.brand,
        "device_model": None if device is None else device.model,
    }


def _version(of: Any) -> str | None:
    if of is None:
        return None
    parts = [getattr(of, name, None) for name in ("major", "minor", "patch", "patch_minor")]
    return ".".join(part for part in parts if part) or None
