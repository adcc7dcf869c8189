"""Texts whose fields nobody has named before: each becomes a JSON document, and its shape is learned from there.

The documents of a batch are lines as events are (`{"source":"","event":{…}}`, what was read standing at `into`), so the
one code that learns the shape of events learns theirs, and makes typed columns of them.
"""

from __future__ import annotations

import re

import msgspec

from flows.columns import Path, literal
from flows.steps.parse.settings import Parse


def document(step: Parse, text: str, into: Path) -> str:
    """SQL of the line with what was read of `text`; NULL where it cannot be read."""
    return _standing_at(into, _json(step, text))


def ndjson_of(into: Path) -> tuple[str, str]:
    """What stands before and after the JSON value in a line."""
    before, after = '{"source":"","event":{', "}}"
    if into[0] == "metadata":
        before, after = '{"source":"","event":{},"metadata":{', "}}"
    if len(into) == 1:
        return before[:-1], after[:-1]
    for part in into[1:]:
        before += msgspec.json.encode(part).decode() + ":{"
        after += "}"
    return before[:-1], after[:-1]


def _standing_at(into: Path, value: str) -> str:
    before, after = ndjson_of(into)
    return f"{literal(before)} || ({value}) || {literal(after)}"


def _json(step: Parse, text: str) -> str:
    match step.as_:
        case "json":
            return _object(text, lists=step.into is not None)
        case "cef":
            return f"cef_json({text})"
        case "query_string":
            return f"query_json({text})"
        case "logfmt":
            return _logfmt(text)
        case _:
            return _pairs(text, step.delimiter or " ", step.assign or "=")


def _object(text: str, *, lists: bool) -> str:
    """A JSON text on one line. Scalars are no documents: a log line that is only `12` says nothing as JSON."""
    begins = r"^\s*[\[{]" if lists else r"^\s*[{]"
    fits = f"regexp_matches({text}, {literal(begins)}) AND json_valid({text})"
    return f"CASE WHEN {fits} THEN translate({text}, chr(10) || chr(13), '  ') END"


_QUOTED = r'"(?:[^"\\]|\\.)*"'


def _logfmt(text: str) -> str:
    """`key=value key="a \\"quoted\\" value" flag`; at least one pair, or it is no logfmt. A bare key is true."""
    token = rf'([^\s="]+)(?:(=)({_QUOTED}|[^\s"]*))?'
    whole = rf'\s*[^\s="]+(?:=(?:{_QUOTED}|[^\s"]*))?(?:\s+[^\s="]+(?:=(?:{_QUOTED}|[^\s"]*))?)*\s*'
    fits = f"contains({text}, '=') AND regexp_full_match({text}, {literal(whole)})"
    parts = [f"regexp_extract_all({text}, {literal(token)}, {group})" for group in (1, 2, 3)]
    value = f"CASE WHEN coalesce(p[2], '') = '' THEN 'true' WHEN p[3] = '' THEN '\"\"' ELSE {_text_of('p[3]')} END"
    return f"CASE WHEN {fits} THEN {_members(parts, value)} END"


def _pairs(text: str, delimiter: str, assign: str) -> str:
    """`key=value` pairs between other signs; what is no pair is passed over, but there must be one."""
    between, sign = (r"\s+" if delimiter.isspace() else re.escape(delimiter)), re.escape(assign)
    single = r"'(?:[^'\\]|\\.)*'"
    key = f"[^{_in_class(assign[0] + delimiter[0])}\\s\"']+"
    token = rf"(?s)({key})\s*({sign})\s*({_QUOTED}|{single}|.*?)\s*(?:{between}|$)"
    parts = [f"regexp_extract_all({text}, {literal(token)}, {group})" for group in (1, 2, 3)]
    bare = f"CASE WHEN p[3] = '' THEN '\"\"' ELSE {_text_of('p[3]')} END"
    value = f"CASE WHEN regexp_full_match(p[3], {literal(single)}) THEN to_json(p[3][2:-2])::VARCHAR ELSE {bare} END"
    return f"CASE WHEN regexp_matches({text}, {literal(token)}) THEN {_members(parts, value)} END"


def _in_class(text: str) -> str:
    return "".join(f"\\x{{{ord(character):x}}}" for character in dict.fromkeys(text))


def _text_of(value: str) -> str:
    """JSON of a value that may be quoted; one whose escapes are not JSON's is taken as it is written."""
    quoted = f"starts_with({value}, '\"') AND len({value}) > 1"
    return (
        f"CASE WHEN {quoted} AND json_valid({value}) THEN {value}"
        f" WHEN {quoted} THEN to_json({value}[2:-2])::VARCHAR ELSE to_json({value})::VARCHAR END"
    )


def _members(parts: list[str], value: str) -> str:
    """A JSON object of the lists of keys, signs and values; of a key that is there twice the last one counts."""
    keys = "list_transform(z, lambda k: k[1])"
    last = f"list_filter(z, lambda p, i: NOT list_contains(({keys})[i + 1:], p[1]))"
    unique = f"CASE WHEN len({keys}) = len(list_distinct({keys})) THEN z ELSE {last} END"
    member = f"to_json(p[1])::VARCHAR || ':' || {value}"
    joined = f"array_to_string(list_transform({unique}, lambda p: {member}), ',')"
    return f"list_transform([list_zip({', '.join(parts)})], lambda z: '{{' || {joined} || '}}')[1]"
