"""`headrace version`."""

from __future__ import annotations

from headrace.terminal import AsJson, announce, print_json

ENGINES = ("bytewax", "duckdb", "pyarrow", "deltalake", "kafka-python", "granian", "flask")
"""The packages whose version a bug report needs."""


def version(as_json: AsJson = False) -> None:
    """Print the version.

    \b
    Example:
      headrace version --json
    """
    from importlib.metadata import version as installed

    if as_json:
        print_json({"headrace": installed("headrace"), **{name: installed(name) for name in ENGINES}})
    else:
        announce(installed("headrace"))
