"""Masks wait for the steps behind them that drop events, where those do not look at what is masked.

A mask is the dearest of steps, and nobody needs it in an event that is dropped. What an event becomes is the same, for a
step sees the same values; which steps may go first is decided by the columns of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from flows.columns import Columns
from flows.expression import compile_expression
from flows.steps import Filter, Mask, Sample, Step
from flows.steps.mask.settings import rules_of


def goes_first(step: Step, masks: Sequence[Step], columns: Columns) -> bool:
    """Whether `step`, which comes after `masks` and may drop events, reads nothing of `columns` that they change."""
    if isinstance(step, Filter):
        texts = [(step.expression, True)]
    elif isinstance(step, Sample):
        texts = [(text, text is step.keep) for text in (step.keep, step.key) if text is not None]
    else:
        return False
    rules = [rules_of(mask) for mask in masks if isinstance(mask, Mask)]
    hidden = {
        path for path in columns if path[0] in ("event", "metadata") and any(each.at(path).left for each in rules)
    }
    seen = {path: kind for path, kind in columns.items() if path not in hidden}
    # What does not read a column compiles to the same without it.
    return all(
        compile_expression(text, columns, condition=condition) == compile_expression(text, seen, condition=condition)
        for text, condition in texts
    )
