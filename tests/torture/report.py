"""What a torture prints: a line as each fault is done, and the tables at the end."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from tests.torture.clients import Ledger
from tests.torture.judge import Findings
from tests.torture.schedule import Fault


def table(done: Sequence[tuple[Sequence[Fault], float]], without: Mapping[str, str]) -> str:
    """Faults by kind and target, with the time from the end of a round's faults until all was caught up."""
    counts: Counter[tuple[str, str]] = Counter()
    times: dict[tuple[str, str], list[float]] = {}
    for faults, seconds in done:
        for fault in faults:
            key = (fault.kind, fault.target)
            counts[key] += 1
            times.setdefault(key, []).append(seconds)
    lines = [f"{'fault':14} {'at':20} {'times':>5}   {'recovery, median':>16} {'max':>7}"]
    for key in sorted(counts):
        middle, most = statistics.median(times[key]), max(times[key])
        lines.append(f"{key[0]:14} {key[1]:20} {counts[key]:5}   {middle:14.1f} s {most:5.1f} s")
    lines.append(f"{'all':35} {sum(counts.values()):5}")
    lines += [f"not done: {kind} ({reason})" for kind, reason in without.items()]
    return "\n".join(lines)


def totals(ledger: Ledger, found: Findings, late: int) -> str:
    """The numbers that count."""
    numbers = {
        "events acknowledged": len(ledger.acknowledged),
        "requests": ledger.requests,
        "  repeated with their key": ledger.repeats,
        "  refused for now or unanswered": ledger.failures,
        "events in doubt (no key, no 200)": len(ledger.in_doubt),
        "late for their window": late,
        "lost": len(found.lost),
        "doubled": len(found.doubled),
        "out of order": len(found.disordered),
        "shown unmasked": len(found.shown),
        "otherwise wrong": len(found.wrong),
    }
    return "\n".join(f"{name:35} {number:7,}" for name, number in numbers.items())
