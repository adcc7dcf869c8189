"""A line of the one table, and how a case that cannot be had becomes one that says why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from statistics import median

import msgspec

from bench.measure import Result
from tests.services.process import ServiceMissingError


class Scale(msgspec.Struct, frozen=True):
    """How much is measured: events a batch, rounds, seconds of load a round, events through a whole dataflow.

    `full` is for what takes many minutes; of a group only what has `case` in its name is measured.
    """

    rows: int = 20_000
    rounds: int = 5
    seconds: float = 3.0
    events: int = 400_000
    full: bool = False
    case: str = ""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """`ours` and `reference` in `unit`; `ratio` is what `target` is about, `met` whether it reaches it.

    `note` says what the reference is and does, or why there is no figure.
    """

    group: str
    what: str
    ours: float | None = None
    reference: float | None = None
    unit: str = ""
    ratio: float | None = None
    target: str = ""
    met: bool | None = None
    note: str = ""


def compared(
    group: str,
    what: str,
    pairs: Iterable[tuple[float, float]],
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    unit: str = "events/s of a core",
    note: str = "",
) -> Row:
    """The medians of `pairs` (ours, reference) of as many rounds, and the median of their ratios beside its target."""
    found = list(pairs)
    ratio = median(ours / reference for ours, reference in found)
    return Row(
        group=group,
        what=what,
        ours=median(ours for ours, _ in found),
        reference=median(reference for _, reference in found),
        unit=unit,
        ratio=ratio,
        target=_target(at_least, at_most),
        met=_met(ratio, at_least, at_most),
        note=note,
    )


def alone(
    group: str,
    what: str,
    ours: float,
    *,
    unit: str,
    at_least: float | None = None,
    at_most: float | None = None,
    note: str = "",
) -> Row:
    """A figure that has no reference but its target, if any."""
    met = _met(ours, at_least, at_most)
    return Row(
        group=group, what=what, ours=ours, unit=unit, target=_target(at_least, at_most, unit), met=met, note=note
    )


def of_result(result: Result) -> Row:
    """What a `Case` was measured as: a step's own cost, or that of all where it has nothing to be taken off."""
    reach = None if result.ratio is None or result.target is None else result.ratio >= result.target
    whole = "" if result.alone in (None, result.whole) else f"with reading {shown(result.whole)}"
    noise = "" if result.alone is not None else f"within the noise of {shown(result.whole)}"
    return Row(
        group=result.group,
        what=result.name,
        ours=result.alone,
        reference=result.reference,
        unit="events/s of a core",
        ratio=result.ratio,
        target=_target(result.target, None),
        met=reach,
        note="; ".join(filter(None, (result.does and f"reference: {result.does}", whole, noise))),
    )


def difference(whole: float, base: float) -> float:
    """What `whole` took more than `base`; ServiceMissingError where that is less than what such runs vary by."""
    if whole - base < 0.03 * whole:
        raise ServiceMissingError(f"{whole:.2f} s less {base:.2f} s is within the noise; measure more events")
    return whole - base


def told(scale: Scale, group: str, what: str, measured: Callable[[], Iterable[Row]]) -> Iterator[Row]:
    """The rows of one case; where it cannot be had, a row with the reason, and the others go on."""
    if scale.case not in what:
        return
    try:
        yield from measured()
    except ServiceMissingError as exc:
        yield Row(group=group, what=what, note=f"not measured: {exc}")
    except Exception as exc:  # noqa: BLE001 -- whatever a peer or a server raises is what there is to say of it
        yield Row(group=group, what=what, note=f"failed: {type(exc).__name__}: {str(exc)[:300]}")


def table(rows: Iterable[Row]) -> str:
    """The rows as Markdown, a line each."""
    lines = ["| | what | ours | reference | unit | ratio | target | | |", "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        ratio = "—" if row.ratio is None else f"{row.ratio:.2f}"
        met = "" if row.met is None else "met" if row.met else "**missed**"
        note = row.note.replace("|", "\\|").replace("\n", " ")
        cells = (
            row.group,
            row.what,
            shown(row.ours),
            shown(row.reference),
            row.unit,
            ratio,
            row.target or "—",
            met,
            note,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(value: float | None) -> str:
    """Three digits: more would be noise."""
    if value is None:
        return "—"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def _target(at_least: float | None, at_most: float | None, unit: str = "") -> str:
    if at_least is not None:
        return f"≥ {at_least:g}"
    return "" if at_most is None else f"≤ {at_most:g}{' ' + unit if unit else ''}"


def _met(value: float, at_least: float | None, at_most: float | None) -> bool | None:
    if at_least is None and at_most is None:
        return None
    return (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
