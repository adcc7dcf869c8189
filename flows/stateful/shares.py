"""Who is kept of the events of an interval, and how many there were: `sample`'s `per` and `dynamic`, on bare arrays.

Of each key the events with the lowest draws are taken, in turns where keys share a target: first each key's lowest, then
each key's second, and so on until the target is met. So a rare key is kept whole, and what frequent ones have is cut to
about the same number. Draws know nothing of an event's content: any part of a key's events is estimated without bias.

What is not chosen now is not chosen later either, whatever comes: its turn only moves back. So it can be let go at once.
"""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np

MAX_KEYS = 100_000
"""Keys told apart in an interval; what comes of further ones is one key."""

OTHERS = np.uint64(0)


class Choice(msgspec.Struct, frozen=True):
    """Which events are `chosen` (a boolean each), and of which group (interval and key) each is.

    Of each group, in the order of interval and key: its `intervals`, its `keys`, and how many were `taken`.
    """

    chosen: Any
    group: Any
    intervals: Any
    keys: Any
    taken: Any


def choose(interval: Any, key: Any, draw: Any, limit: int, *, together: bool) -> Choice:
    """Chooses among events, an element each: `limit` of each key and interval, or `together` of each interval.

    At least one of each key is taken. Events with equal draws are in the order given.
    """
    count = len(interval)
    by_key = np.lexsort((draw, key, interval))
    begins = _changes(interval[by_key]) | _changes(key[by_key])
    group = np.empty(count, np.int64)
    group[by_key] = np.cumsum(begins) - 1
    turn = np.empty(count, np.int64)
    turn[by_key] = _since(begins)
    if together:
        by_turn = np.lexsort((draw, turn, interval))
        place = np.empty(count, np.int64)
        place[by_turn] = _since(_changes(interval[by_turn]))
        chosen = (turn == 0) | (place < limit)
    else:
        chosen = turn < limit
    first = by_key[begins]
    taken = np.bincount(group[chosen], minlength=len(first))
    return Choice(chosen, group, interval[first], key[first], taken)


def bounded(interval: Any, key: Any, known: Any) -> Any:
    """The keys, those beyond `MAX_KEYS` of an interval made one; `known` are those the first interval has already."""
    if len(known) + len(np.unique(key)) <= MAX_KEYS:
        return key
    key = key.copy()
    cuts = [0, *(np.flatnonzero(np.diff(interval)) + 1).tolist(), len(interval)]
    for start, stop in itertools.pairwise(cuts):
        part = key[start:stop]
        found, first = np.unique(part, return_index=True)
        new = ~np.isin(found, known)
        room = max(MAX_KEYS - len(known), 0)
        beyond = found[new][np.argsort(first[new])][room:]
        part[np.isin(part, beyond)] = OTHERS
        known = np.empty(0, np.uint64)
    return key


def _changes(values: Any) -> Any:
    """Where a value differs from the one before it; true of the first."""
    return np.concatenate([np.ones(min(len(values), 1), bool), values[1:] != values[:-1]])


def _since(begins: Any) -> Any:
    """How many places each is after the last beginning."""
    place = np.arange(len(begins))
    return place - np.maximum.accumulate(np.where(begins, place, 0))
