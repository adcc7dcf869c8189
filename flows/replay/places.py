"""Where a replay begins and ends, as a person writes it: a time, a time ago, or offsets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

import msgspec

from connectors.dedupe import CLOCK_SKEW
from connectors.errors import HeadraceError
from connectors.log import Log
from connectors.log.span import Span
from connectors.record import format_instant
from connectors.timestamps import parse_timestamp
from flows.config.scalars import duration

FORMS = (
    "2026-02-12T14:00:00Z (by time of receipt) or 2026-02-12 (its beginning, UTC), 2h or 7d (ago), offset:123, or"
    " 0:100,1:200 (partition:offset)"
)

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_OFFSETS = re.compile(r"\d+:\d+(,\d+:\d+)*")


class Instant(msgspec.Struct, frozen=True):
    """A time of receipt in microseconds; `ago` where it was written as one that moves."""

    at: int
    ago: bool = False


class Offsets(msgspec.Struct, frozen=True):
    """An offset by partition, or one for all of them."""

    by_partition: Mapping[int, int] = {}
    of_all: int | None = None


Place = Instant | Offsets


class Missing(msgspec.Struct, frozen=True):
    """What lies before the log's beginning: records by partition, `exact` where all of them were asked for."""

    records: dict[int, int]
    exact: bool

    @property
    def count(self) -> int:
        """How many in all, or at most."""
        return sum(self.records.values())


def read_place(text: str, now: int) -> Place:
    """What the text of --from or --to means at `now` (microseconds). ValueError, with the forms, for anything else."""
    text = text.strip()
    if text.startswith("offset:") and text[7:].isascii() and text[7:].isdigit():
        return Offsets(of_all=int(text[7:]))
    if _OFFSETS.fullmatch(text):
        pairs = [(int(partition), int(offset)) for partition, _, offset in (p.partition(":") for p in text.split(","))]
        if len({partition for partition, _ in pairs}) < len(pairs):
            raise ValueError(f"'{text}' names a partition twice")
        return Offsets(dict(pairs))
    try:
        return Instant(parse_timestamp(f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text))
    except ValueError:
        pass
    ago = _ago(text)
    if ago is None:
        raise ValueError(f"'{text[:60]}' is no place in the log; write {FORMS}")
    return Instant(now - ago, ago=True)


def span_of(log: Log, stream: str, start: Place | None, end: Place | None) -> tuple[Span, Missing]:
    """The span of a stream (an id) between the two, as the log is now, and what of it the log does not hold any more.

    Without a `start` it is all of the log, without an `end` up to where it ends. Raises HeadraceError.
    """
    bounds = log.bounds()
    for option, place in (("--from", start), ("--to", end)):
        _check(option, place, bounds)
    if isinstance(start, Instant) and isinstance(end, Instant) and start.at >= end.at:
        raise HeadraceError(
            f"--from ({format_instant(start.at)}) is not before --to ({format_instant(end.at)})",
            remedy="--from is the earlier one; what was received at --to itself is not taken",
        )
    named = _named(start, bounds) & _named(end, bounds)
    if not named:
        raise HeadraceError("--from and --to name no partition together", remedy="give both for the same partitions")
    named &= set(log.partitions_of(stream))
    wanted = _starts(log, start, bounds)
    until = _ends(log, end, bounds)
    starts = {p: min(max(wanted[p], bounds[p][0]), bounds[p][1]) for p in named}
    ends = {p: max(starts[p], min(until[p], bounds[p][1])) for p in named}
    for p in set(bounds) - named:
        starts[p] = ends[p] = bounds[p][1]
    since = start.at if isinstance(start, Instant) else None
    span = Span(starts, ends, since, end.at if isinstance(end, Instant) else None)
    if isinstance(start, Instant):
        since_then = log.offsets_at(start.at)
        gone = {p: bounds[p][0] for p in named if bounds[p][0] and since_then[p] <= bounds[p][0]}
    else:
        gone = {p: bounds[p][0] - wanted[p] for p in named if wanted[p] < min(bounds[p][0], until[p])}
    return span, Missing(gone, exact=not isinstance(start, Instant))


def _ago(text: str) -> int | None:
    try:
        length = duration(text)
    except ValueError:
        return None
    return None if length <= timedelta(0) else length // timedelta(microseconds=1)


def _check(option: str, place: Place | None, bounds: Mapping[int, tuple[int, int]]) -> None:
    if not isinstance(place, Offsets):
        return
    for partition, offset in place.by_partition.items():
        if partition not in bounds:
            raise HeadraceError(
                f"{option}: the log has no partition {partition}", remedy=f"its partitions: 0 to {max(bounds)}"
            )
        if option == "--from" and offset > bounds[partition][1]:
            raise HeadraceError(
                f"{option}: partition {partition} ends at offset {bounds[partition][1]}, before {offset}",
                remedy="`headrace stats` shows where the partitions end",
            )
    if option == "--from" and place.of_all is not None and place.of_all > max(end for _, end in bounds.values()):
        raise HeadraceError(
            f"{option}: no partition has an offset {place.of_all}",
            remedy="`headrace stats` shows where the partitions end",
        )


def _named(place: Place | None, bounds: Mapping[int, tuple[int, int]]) -> set[int]:
    """The partitions that are meant: those named, where any is."""
    return set(place.by_partition) if isinstance(place, Offsets) and place.by_partition else set(bounds)


def _starts(log: Log, start: Place | None, bounds: Mapping[int, tuple[int, int]]) -> Mapping[int, int]:
    if isinstance(start, Instant):
        return log.offsets_at(start.at - CLOCK_SKEW)
    return _offsets(start, dict.fromkeys(bounds, 0))


def _ends(log: Log, end: Place | None, bounds: Mapping[int, tuple[int, int]]) -> Mapping[int, int]:
    if isinstance(end, Instant):
        return log.offsets_at(end.at + CLOCK_SKEW)
    return _offsets(end, {p: last for p, (_, last) in bounds.items()})


def _offsets(place: Offsets | None, otherwise: Mapping[int, int]) -> Mapping[int, int]:
    if place is None:
        return otherwise
    if place.of_all is not None:
        return dict.fromkeys(otherwise, place.of_all)
    return {**otherwise, **place.by_partition}
