"""Computes expressions for an event without any field, one after the other, in a process that can be ended for one of them.

    echo '["upper(event.a)"]' | python -m flows.expression.over_nothing

Writes a line on stdout for each that is well. At one that takes too much it ends with `TOO_MUCH` and the reason on stderr.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import duckdb
import msgspec

from flows.expression.aggregate import calls_taken_out
from flows.expression.compiled import compile_node
from flows.expression.syntax import InvalidExpression, parse, run
from flows.watchdog import Bounds, Watchdog

TOO_MUCH = 3
"""The exit code."""

_BOUNDS = Bounds(seconds=5.0, megabytes=512.0)


def main() -> None:
    """The entry point."""
    watchdog = Watchdog()
    for text in msgspec.json.decode(sys.stdin.buffer.read(), type=list[str]):
        with watchdog.over(_BOUNDS, _end):
            _compute(text)
        print(flush=True)


def _compute(text: str) -> None:
    """Each part of an aggregate by itself."""
    for node in calls_taken_out(parse(text), text):
        try:
            run(f"SELECT {compile_node(node, text, {}).sql}")
        except (duckdb.Error, InvalidExpression):
            continue


def _end(reason: str) -> NoReturn:
    sys.stderr.write(reason)
    sys.stderr.flush()
    os._exit(TOO_MUCH)


if __name__ == "__main__":
    main()
