"""Names of Snowflake's objects: read as Snowflake reads them, written in double quotes always.

A plain name is folded to capitals, so that `select * from payments` finds the table of the stream `payments`; one in
double quotes stays as it is. Whatever stands for `{stream}` is letters, digits and `_` in a plain name, and inside the
quotes in a quoted one, so no name leads anywhere else.
"""

from __future__ import annotations

import re

from connectors.columns import quoted

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_QUOTED = re.compile(r'"((?:[^"]|"")+)"', re.DOTALL)
_LONGEST = 255


def resolved(text: str) -> str:
    """The object's name that `text` means. ValueError with a remedy where it means none."""
    if (inner := _QUOTED.fullmatch(text)) is not None:
        name = inner[1].replace('""', '"')
    elif _PLAIN.fullmatch(text):
        name = text.upper()
    else:
        raise ValueError("""is no name; begin it with a letter, or write it in double quotes: '"my name"'""")
    if len(name) > _LONGEST or "\0" in name:
        raise ValueError(f"is no name; at most {_LONGEST} characters")
    return name


def check_table(template: str) -> None:
    """ValueError with a remedy where no table's name can be made of `template`."""
    rest = template.replace("{stream}", "")
    if "{" in rest or "}" in rest:
        raise ValueError("only {stream} can stand in it, for the stream's name")
    resolved(template.replace("{stream}", "s"))


def table_name(template: str, stream: str) -> str:
    """The table of the stream (or rollup) of this name."""
    if template.startswith('"'):
        return resolved(template.replace("{stream}", stream.replace('"', '""')))
    return template.replace("{stream}", re.sub(r"[^A-Za-z0-9_]", "_", stream)).upper()[:_LONGEST]


def qualified(*names: str) -> str:
    """The SQL of an object: each of its names in double quotes, so that it is none of Snowflake's own words."""
    return ".".join(quoted(name) for name in names)
