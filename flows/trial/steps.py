"""How a step is named, and its rule told, to who wrote it."""

from __future__ import annotations

import msgspec

from flows.steps import Filter, Step


def name_of(step: Step) -> str:
    """The step's key in the configuration."""
    return type(step).__name__.lower()


def rule_of(step: Step) -> str:
    """What the configuration says under that key, on one line."""
    if isinstance(step, Filter):
        return step.expression
    fields = msgspec.structs.fields(step)
    if len(fields) == 1:
        return msgspec.json.encode(getattr(step, fields[0].name)).decode()
    values = {field.encode_name: getattr(step, field.name) for field in fields}
    defaults = {field.encode_name: field.default for field in fields}
    return msgspec.json.encode(
        {name: value for name, value in values.items() if value and value != defaults[name]}
    ).decode()


def somewhere_in(stream: str) -> str:
    """How the pipeline of a stream is named where all of it is one query, and who finds out at which step it is."""
    return f"streams.{stream}.steps (`headrace preview {stream} --input FILE` says which of them)"
