"""A pipeline tried out before it ships: on example events, in memory, nothing written.

`inline.py` runs the tests of a stream, `trace.py` tells what each step does to each event, `explain.py` shows the SQL,
`savings.py` counts what a pipeline takes away.
All of them compile the pipeline as the dataflow does.
"""

from __future__ import annotations

from flows.trial.explain import Explained, explain
from flows.trial.inline import Failure, Result, run_test
from flows.trial.lines import Example, example_lines, read_examples, sample_paths
from flows.trial.savings import Savings, StepSavings, savings
from flows.trial.trace import Change, EventTrace, StepTrace, Tracer

__all__ = [
    "Change",
    "EventTrace",
    "Example",
    "Explained",
    "Failure",
    "Result",
    "Savings",
    "StepSavings",
    "StepTrace",
    "Tracer",
    "example_lines",
    "explain",
    "read_examples",
    "run_test",
    "sample_paths",
    "savings",
]
