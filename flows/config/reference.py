"""The reference pages `docs/steps.md` and `docs/destinations.md`, made from the structs that the loader reads by.

    python -m flows.config.reference        # writes them again: `make docs`

What a page says of a component is the struct's docstring; its example there, which begins with the key that it stands
under (`steps:`, `destinations:`, …), becomes a whole configuration, so that it can be checked as a user would.
"""

from __future__ import annotations

import inspect
import re
import textwrap
import types
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from connectors.sinks.settings import Destination
from connectors.values import Bytes, Kind, Secret
from flows.config.settings import READ_AS, STEPS, OneKey

Struct = type[msgspec.Struct]

STREAM = "  example:\n    id: a0c3b4de-1923-4ff1-8dba-f92ad912d20f\n"
OF_A_STREAM = ("steps:", "routes:", "rollups:", "tests:", "types:", "mask_key:")
OF_THE_FILE = ("destinations:", "lookups:", "log:")

_MADE = "<!-- made by `make docs` from the code: change the docstrings, not this page -->"
_STEPS = f"""{_MADE}
# Steps

What a pipeline can do to an event, each with its settings. [configuration.md](configuration.md#streams) tells how they work
together, and what an expression is. Steps run in the order written.
"""
_DESTINATIONS = f"""{_MADE}
# Destinations

Where events can go, each `type` with its settings. [configuration.md](configuration.md#destinations) tells what they have in
common.
"""
_WORDS = {
    "expression": "expression",
    "aggregate": "expression with aggregates",
    "path": "path",
    "identifier": "name",
    "name": "name",
    "size": "size: `50MB`, `1GiB`",
    "uuid": "UUID",
    "type": "DuckDB type",
    "data": "any value",
}
_PLAIN = {str: "text", Secret: "secret: `${NAME}`", int: "whole number", float: "number", bool: "true or false"}
_DURATION = "duration: `500ms`, `10s`, `1h`"
_BOUNDS = (("gt", "above"), ("ge", "at least"), ("lt", "below"), ("le", "at most"))


def pages() -> dict[str, str]:
    """Each page's file name and text."""
    return {
        "steps.md": _page(_STEPS, STEPS),
        "destinations.md": _page(_DESTINATIONS, {str(kind.__struct_config__.tag): kind for kind in destinations()}),
    }


def destinations() -> tuple[Struct, ...]:
    """The types of destination that there are."""
    return get_args(Destination) or (Destination,)  # a union of one is its member


def prose_and_examples(of: Struct) -> tuple[str, tuple[str, ...]]:
    """What the docstring says, and its examples as whole configurations. ValueError where an example has no place."""
    prose, examples = [], []
    for part in re.split(r"\n\n(?=\S)|\n\n(?= {4}\S)", inspect.cleandoc(of.__doc__ or "")):
        if part.startswith(("    ", *OF_A_STREAM, *OF_THE_FILE)):
            examples.append(_whole(textwrap.dedent(part)))
        else:
            prose.append(part)
    return "\n\n".join(prose), tuple(examples)


def shared(of: Struct) -> tuple[Struct, ...]:
    """The structs whose settings a component has beside its own."""
    return tuple(base for base in of.__mro__[1:] if issubclass(base, msgspec.Struct) and base is not msgspec.Struct)


def _whole(example: str) -> str:
    """The configuration that an example of a docstring is a part of."""
    of_file, of_stream = "", ""
    for part in re.split(r"^(?=\w)", example, flags=re.MULTILINE)[1:]:
        if part.startswith(OF_A_STREAM):
            of_stream += textwrap.indent(f"{part.rstrip()}\n", "    ")
        elif part.startswith(OF_THE_FILE):
            of_file += f"{part.rstrip()}\n"
        else:
            raise ValueError(f"an example must begin with the key that it stands under: {part[:40]!r}")
    named = re.findall(r"^ {2}(\w+):", of_file, re.MULTILINE) if of_file.startswith("destinations:") else []
    if named and "lake" not in named and "routes:" not in of_stream:  # where all events go by default
        of_stream += f"    routes: [{{to: [{', '.join(named)}]}}]\n"
    return f"{of_file}streams:\n{STREAM}{of_stream}"


def _page(head: str, components: dict[str, Struct]) -> str:
    contents = " · ".join(f"[{name}](#{name})" for name in components)
    sections = "\n".join(_section(name, of) for name, of in components.items())
    return f"{head}\n{contents}\n\n{sections}".rstrip() + "\n"


def _section(name: str, of: Struct) -> str:
    prose, examples = prose_and_examples(of)
    parts = [f"## {name}\n", prose, ""]
    for example in examples:
        needs = "variable" if "${" in example else "file" if example.startswith("lookups:") else None
        parts += [*([f"<!-- not run: it needs the {needs} -->"] if needs else []), f"```yaml\n{example}```", ""]
    fields = msgspec.structs.fields(of)
    if len(fields) == 1 and not of.__struct_config__.tag:
        parts += [f"`{name}:` takes: {_kind(of, fields[0])}.", ""]
    else:
        parts += [*_table(of), "", *(f"{prose_and_examples(base)[0]}\n" for base in shared(of))]
    for nested in _nested(of):
        parts += [f"`{_snake(nested)}`: {prose_and_examples(nested)[0]}", "", *_table(nested), ""]
    return "\n".join(parts)


def _table(of: Struct) -> Iterator[str]:
    yield "| setting | value | default |"
    yield "|---|---|---|"
    for field in msgspec.structs.fields(of):
        yield f"| `{field.encode_name}` | {_kind(of, field)} | {_default(field)} |"


def _kind(of: Struct, field: msgspec.structs.FieldInfo) -> str:
    return _said(READ_AS.get((of, field.name), field.type)).replace("|", "\\|")


def _said(kind: Any, marks: tuple[Any, ...] = ()) -> str:
    """A type in words."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _said(kind.__origin__, (*kind.__metadata__, *marks))
    named = next((_WORDS[mark.name] for mark in marks if isinstance(mark, Kind) and mark.name in _WORDS), None)
    if named is not None:
        return named + _bounds(marks)
    if any(isinstance(mark, OneKey) for mark in marks):
        return "steps"
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_said(member, marks) for member in get_args(kind) if member is not type(None)))
    if origin is Literal:
        return " or ".join(f"`{word}`" for word in get_args(kind))
    if origin in (tuple, list):
        return f"list of: {_said(get_args(kind)[0])}"
    if origin is dict:
        key, item = (_said(part) for part in get_args(kind))
        return f"mapping of {key} to {item}"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return f"a `{_snake(kind)}`: see below"
    if kind is timedelta:
        return _DURATION
    return _PLAIN.get(kind, "any value" if kind is Any else "path of a file") + _bounds(marks)


def _bounds(marks: tuple[Any, ...]) -> str:
    said = [
        f"{words} {getattr(mark, bound):,}"
        for mark in marks
        if isinstance(mark, msgspec.Meta)
        for bound, words in _BOUNDS
        if getattr(mark, bound) is not None
    ]
    return f", {', '.join(said)}" if said else ""


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    if value is None or value is msgspec.NODEFAULT or isinstance(value, msgspec.Struct) or value in ((), {}):
        return ""
    if isinstance(value, timedelta):
        return f"`{_duration(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int) and Bytes in (field.type, *get_args(field.type)):
        return f"`{_size(value)}`"
    return f"`[{', '.join(value)}]`" if isinstance(value, tuple) else f"`{value}`"


def _duration(value: timedelta) -> str:
    for unit, seconds in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        if value and value.total_seconds() % seconds == 0:
            return f"{int(value.total_seconds() // seconds)}{unit}"
    return f"{int(value.total_seconds() * 1000)}ms"


def _size(value: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("GB", 10**9), ("MB", 10**6), ("KiB", 2**10)):
        if value % factor == 0:
            return f"{value // factor}{unit}"
    return str(value)


def _nested(of: Struct) -> list[Struct]:
    """The structs that settings of this one take, each once."""
    found: dict[Struct, None] = {}

    def look(kind: Any) -> None:
        if isinstance(kind, type) and not get_origin(kind) and issubclass(kind, msgspec.Struct):
            found[kind] = None
        for member in get_args(kind):
            look(member)

    for field in msgspec.structs.fields(of):
        look(field.type)
    return list(found)


def _snake(kind: Struct) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()


def main() -> None:
    """Writes the pages into `docs/` of the present directory."""
    for name, text in pages().items():
        Path("docs", name).write_text(text)


if __name__ == "__main__":
    main()
