"""What a person or a program reads: results on stdout, everything said along the way on stderr."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

ConfigFile = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="HEADRACE_CONFIG", show_envvar=True, help="The configuration file."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]

DEFAULT_CONFIG = Path("headrace.yaml")


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    import orjson

    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE, default=str))
    sys.stdout.flush()


def announce(line: str) -> None:
    """One line on stdout, at once: another program may be waiting for it."""
    print(line, flush=True)


def say(line: str) -> None:
    """One line on stderr."""
    print(line, file=sys.stderr, flush=True)


def leave(code: int) -> NoReturn:
    """Ends the process without the interpreter's farewell: threads of destinations may hold what it would tear down."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
