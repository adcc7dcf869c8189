"""The one way of measuring here: pair by pair, in turns, CPU time of one thread, medians.

The machine is never quiet. So what is compared runs in the same process, one after the other, in an order that turns from
round to round; each round gives one difference and one ratio, and their medians are what is told. Figures of two runs
are not to be compared, ratios are.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from statistics import median

import msgspec

Run = Callable[[], object]
HALF = 0.5
"""The usual target: at least half as fast as the bare engine doing the same."""


class Case(msgspec.Struct, frozen=True):
    """`ours` on `events` events; what it costs alone is what it takes more than `base`. `reference` does the same.

    `does` says what the reference does; it has no `target` where that is less than the same. `idle` is to the reference
    what `base` is to ours.
    """

    group: str
    name: str
    events: int
    ours: Run
    base: Run | None = None
    reference: Run | None = None
    does: str = ""
    target: float | None = None
    idle: Run | None = None


class Result(msgspec.Struct, frozen=True):
    """Events/s of one core: `alone` (None: within the noise), with its `base`, and the reference's; `ratio` is alone's."""

    group: str
    name: str
    alone: float | None
    whole: float
    reference: float | None
    ratio: float | None
    does: str
    target: float | None


def measure(case: Case, rounds: int) -> Result:
    """Runs a case; the first round only warms up."""
    runs: list[Run] = [run for run in (case.ours, case.base, case.reference, case.idle) if run is not None]
    taken: list[dict[int, float]] = []
    for number in range(rounds + 1):
        turned = runs[number % len(runs) :] + runs[: number % len(runs)]
        taken.append({id(run): _seconds(run) for run in turned})
    ours, base, reference, idle = (
        [0.0] * rounds if run is None else [one[id(run)] for one in taken[1:]]
        for run in (case.ours, case.base, case.reference, case.idle)
    )
    alone = median(a - b for a, b in zip(ours, base, strict=True))
    measurable = alone > 0.03 * median(ours)
    other = median(a - b for a, b in zip(reference, idle, strict=True))
    speed = None if case.reference is None else case.events / other
    return Result(
        case.group,
        case.name,
        case.events / alone if measurable else None,
        case.events / median(ours),
        speed,
        case.events / alone / speed if measurable and speed is not None else None,
        case.does,
        case.target,
    )


def best_of(times: int, run: Run) -> float:
    """The CPU seconds of the fastest of several runs, after one that warms up: for what stands alone."""
    run()
    return min(_seconds(run) for _ in range(times))


def table(results: list[Result]) -> str:
    """The results as Markdown, a line each."""
    lines = [
        "| | | step alone | with reading | reference | ratio | target | the reference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        ratio = "—" if one.ratio is None else f"{one.ratio:.2f}"
        target = "—" if one.target is None else f"{one.target:.2f}"
        reference = "—" if one.reference is None else _events(one.reference)
        alone = "within the noise" if one.alone is None else _events(one.alone)
        cells = (one.group, one.name, alone, _events(one.whole), reference, ratio, target, one.does or "—")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _events(speed: float) -> str:
    """Three digits: more would be noise."""
    return f"{float(f'{speed:.3g}'):,.0f}"


def _seconds(run: Run) -> float:
    began = _spent()
    run()
    return max(_spent() - began, 1e-9)


def _spent() -> float:
    """CPU seconds of this process, and of those it has started and seen end."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
