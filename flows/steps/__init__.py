"""What a pipeline can do to an event, in the order written. One file a step: its configuration, and its SQL.

A step compiles to one layer of a query (see `flows.compile`); DuckDB merges the layers of a pipeline into one pass.
"""

from __future__ import annotations

from flows.steps.drop import Drop
from flows.steps.enrich import Enrich
from flows.steps.filter import Filter
from flows.steps.mask.settings import Mask
from flows.steps.parse.settings import Parse
from flows.steps.sample import Dynamic, Per, Sample
from flows.steps.set import Set
from flows.steps.window import Window

__all__ = [
    "Drop",
    "Dynamic",
    "Enrich",
    "Filter",
    "Mask",
    "Parse",
    "Per",
    "Sample",
    "Set",
    "Step",
    "Window",
    "has_memory",
]

Step = Parse | Filter | Set | Drop | Mask | Sample | Enrich | Window


def has_memory(step: Step) -> bool:
    """Whether what the step makes of an event depends on events before it: then flows.stateful runs it."""
    return isinstance(step, Window) or (isinstance(step, Sample) and step.has_memory)
