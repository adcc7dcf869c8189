"""What each step of a pipeline takes away, in events and bytes, counted over the traces of some events.

Bytes are of an event as one line of JSON, as it is shown at that step: masks are already on, and what headrace adds
beside the event (ids, the time of receipt, the rate) does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from flows.trial.flat import nested
from flows.trial.trace import EventTrace

_Counts = tuple[int, int, int, int]  # events in and out, bytes in and out

NOT_THE_SENDERS = frozenset({"received_at", "_sample_rate", "_late", "_rescued"})


class StepSavings(msgspec.Struct, frozen=True):
    """What a step got and what it handed on; what it set aside as a dead letter is not handed on."""

    step: int
    name: str
    events_in: int
    events_out: int
    bytes_in: int
    bytes_out: int


class Savings(msgspec.Struct, frozen=True):
    """All steps in order, and the whole pipeline: its `events_in` are those that could be read.

    `to` counts (events, bytes) by destination; an event that goes to two is in both.
    """

    steps: tuple[StepSavings, ...]
    events_in: int
    events_out: int
    bytes_in: int
    bytes_out: int
    to: dict[str, tuple[int, int]]


def savings(traces: Iterable[EventTrace]) -> Savings:
    """What became of these events, step by step."""
    rows: dict[tuple[int, str], _Counts] = {}
    whole = (0, 0, 0, 0)
    to: dict[str, tuple[int, int]] = {}
    for trace in traces:
        if trace.error is not None:
            continue
        sizes = list(_sizes(trace))
        kept = trace.dropped_by is None
        for step, before, after in zip(trace.steps, sizes, sizes[1:], strict=False):
            passed = step.result not in ("dropped", "dead_letter")
            place = (step.step, step.name)
            rows[place] = _added(rows.get(place, (0, 0, 0, 0)), passed, before, after)
        whole = _added(whole, kept, sizes[0], sizes[-1])
        for name in trace.to:
            events, size = to.get(name, (0, 0))
            to[name] = (events + 1, size + sizes[-1])
    steps = tuple(StepSavings(step, name, *counts) for (step, name), counts in sorted(rows.items()))
    return Savings(steps, *whole, to)


def _sizes(trace: EventTrace) -> Iterator[int]:
    """The event's size in bytes before the first step and after each; a step that took it out leaves it as it was."""
    fields = dict(trace.input)
    yield _size(fields)
    for step in trace.steps:
        for change in step.changes:
            if change.after is None:
                fields.pop(change.path, None)
            else:
                fields[change.path] = change.after
        yield _size(fields)


def _size(fields: dict[str, Any]) -> int:
    sent = {path: value for path, value in fields.items() if path not in NOT_THE_SENDERS}
    return len(msgspec.json.encode(nested(sent))) + 1


def _added(counts: _Counts, passed: bool, before: int, after: int) -> _Counts:
    events_in, events_out, bytes_in, bytes_out = counts
    return events_in + 1, events_out + passed, bytes_in + before, bytes_out + after * passed
