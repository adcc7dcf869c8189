"""`headrace.yaml`: read, checked and typed.

`load` gives a `Config` or raises `InvalidConfig` with every problem; `check` gives the problems, warnings included.
"""

from __future__ import annotations

from flows.config.load import Places, check, load, load_placed
from flows.config.problems import InvalidConfig, Problem, render_rows, render_text
from flows.config.samples import Samples
from flows.config.schema import json_schema
from flows.config.settings import DEFAULT_DESTINATION, Config, Limits, Stream, StreamTest
from flows.config.version import config_version
from flows.config.watch import Accepted, Refused, Watch, accept

__all__ = [
    "DEFAULT_DESTINATION",
    "Accepted",
    "Config",
    "InvalidConfig",
    "Limits",
    "Places",
    "Problem",
    "Refused",
    "Samples",
    "Stream",
    "StreamTest",
    "Watch",
    "accept",
    "check",
    "config_version",
    "json_schema",
    "load",
    "load_placed",
    "render_rows",
    "render_text",
]
