"""The JSON Schema of `headrace.yaml`, for editors: made from the same types that the loader reads by.

Draft 7, which VS Code's YAML extension knows best. It is looser than `check`: an editor sees the text before `${NAME}`
is replaced, and knows nothing of SQL.
"""

from __future__ import annotations

import inspect
import types
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from connectors.values import Kind, Secret
from flows.config import scalars
from flows.config.settings import READ_AS, Grammar, OneKey

Schema = dict[str, Any]

_REFERENCE: Schema = {"type": "string", "pattern": r"\$\{[^}]+\}"}
_KINDS: dict[str, Schema] = {
    "name": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"},
    "uuid": {
        "type": "string",
        "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
        "description": "A UUID.",
    },
    "path": {"type": "string", "description": 'The path of a field: event.status, metadata."a b".'},
    "expression": {
        "type": ["string", "number", "boolean", "null"],
        "description": "SQL over one event: timestamp, received_at, source, stream, event_id, event.*, metadata.*",
    },
    "aggregate": {
        "type": ["string", "null"],
        "description": "SQL over many events: count(*), sum(event.amount), max(event.latency_ms) / 1000",
    },
    "identifier": {"type": "string", "description": "A name that becomes a field or a column."},
    # null: in `{event.amount: DECIMAL(18,2)}` YAML, and so the editor, sees a second key `2)` without a value
    "type": {"type": ["string", "null"], "description": "A DuckDB type, such as DECIMAL(18,2)."},
}
_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    Secret: {"type": "string", "description": "A secret: name it, ${ENV_NAME}."},
    Path: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    timedelta: {
        "type": "string",
        "pattern": f"^{scalars.DURATION}$",
        "description": "A duration: 500ms, 10s, 5m, 1h, 7d.",
    },
    Any: {},
}
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def json_schema() -> Schema:
    """The schema as a JSON document."""
    definitions: dict[str, Schema] = {}
    root = _struct(Grammar, definitions)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "headrace.yaml",
        **root,
        "definitions": dict(sorted(definitions.items())),
    }


def _of(kind: Any, definitions: dict[str, Schema], marks: tuple[Any, ...] = ()) -> Schema:
    origin = get_origin(kind)
    if origin is Annotated:
        return _of(kind.__origin__, definitions, (*kind.__metadata__, *marks))
    for mark in marks:
        if isinstance(mark, OneKey):
            return {"oneOf": [_one_key(name, member, definitions) for name, member in mark.members.items()]}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(member, definitions, marks) for member in get_args(kind)]}
    if kind is type(None):
        return {"type": "null"}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        definitions.setdefault(kind.__name__, {})  # before its fields, which may name it again
        definitions[kind.__name__] = definitions[kind.__name__] or _struct(kind, definitions)
        return {"$ref": f"#/definitions/{kind.__name__}"}
    if origin is dict:
        key, item = get_args(kind)
        names = {} if key is str else {"propertyNames": _of(key, definitions)}
        return {"type": "object", **names, "additionalProperties": _of(item, definitions)}
    if origin in (tuple, list):
        return {"type": "array", "items": _of(get_args(kind)[0], definitions)}
    if origin is Literal:
        words = get_args(kind)
        return {"enum": [*words, *([None] if "null" in words else [])]}
    return _scalar(kind, marks)


def _struct(cls: type[msgspec.Struct], definitions: dict[str, Schema]) -> Schema:
    properties: dict[str, Schema] = {}
    required: list[str] = []
    config = cls.__struct_config__
    if config.tag is not None and config.tag_field:
        properties[config.tag_field] = {"const": config.tag}
        required.append(config.tag_field)
    expressions = False
    for field in msgspec.structs.fields(cls):
        kind = READ_AS.get((cls, field.name), field.type)
        schema = _of(kind, definitions)
        expressions = expressions or (cls, field.name) in READ_AS
        if field.required:
            required.append(field.encode_name)
        else:
            schema = {"anyOf": [*schema.get("anyOf", [schema]), {"type": "null"}]}
            if isinstance(field.default, str | int | float | bool):
                schema["default"] = field.default
        properties[field.encode_name] = schema
    schema = {
        "type": "object",
        "description": inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " "),
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    if expressions:  # what a comma inside an expression's parentheses leaves behind: a key without a value
        schema["patternProperties"] = {r"\)": {"type": "null"}}
    return schema


def _one_key(name: str, member: type[msgspec.Struct], definitions: dict[str, Schema]) -> Schema:
    fields = msgspec.structs.fields(member)
    if len(fields) == 1:
        field = fields[0]
        inner = dict(_of(READ_AS.get((member, field.name), field.type), definitions))
        inner["description"] = inspect.cleandoc(member.__doc__ or "")
    else:
        inner = _of(member, definitions)
        if not any(field.required for field in fields):
            inner = {"anyOf": [inner, {"type": "null"}]}
    return {"type": "object", "properties": {name: inner}, "required": [name], "additionalProperties": False}


def _scalar(kind: Any, marks: tuple[Any, ...]) -> Schema:
    named = next((mark.name for mark in marks if isinstance(mark, Kind) and mark.name in _KINDS), None)
    schema = dict(_KINDS[named] if named else _PLAIN[kind])
    for meta in marks:
        if isinstance(meta, msgspec.Meta):
            schema |= {
                word: getattr(meta, bound) for bound, word in _BOUNDS.items() if getattr(meta, bound) is not None
            }
            schema |= {"minLength": meta.min_length} if meta.min_length is not None else {}
    if any(isinstance(mark, Kind) and mark.name == "size" for mark in marks):
        size = {"type": "string", "pattern": f"^{scalars.SIZE}$", "description": "A size: 50MB, 1GiB."}
        return {"anyOf": [schema, size, _REFERENCE]}
    if kind in (int, float, bool, timedelta) or named == "uuid":
        return {"anyOf": [schema, _REFERENCE]}
    return schema
