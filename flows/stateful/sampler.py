"""`sample` with `per` or `dynamic`: of the events of a second, those that are kept, each with its exact share.

What share was kept is known when the second is over, so events wait for its end: `_sample_rate` is then (kept / seen) of
the event's key and second, and `sum(1/_sample_rate)` is no estimate for a key but its count. An event belongs to the
second of its `received_at`; one that comes after its second has ended belongs to the one that is open. Which are kept is
drawn by `event_id` (`flows.stateful.shares`), so a late event of a second has the chances of an early one.

A whole number of events a second is kept of each second; otherwise the interval is longer: 2.5 are 3 of 1.2 s, 0.1 is 1
of 10 s. The state is bounded by the interval's: the events chosen so far (`keep` ones too, so that the order stays) and a
count a key; past `MAX_BYTES` the interval ends early.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from connectors.logger import get_logger
from connectors.telemetry import EVENTS_DROPPED
from flows.columns import EVENT_ID, RECEIVED_AT, Columns, column, dotted
from flows.expression import compile_expression
from flows.expression.values import Value, as_text
from flows.queries import OfShapes
from flows.stateful.events import selection
from flows.stateful.operator import Changes, Flat, Operator
from flows.stateful.shares import bounded, choose
from flows.stateful.waiting import Kept, Waiting
from flows.steps import Sample
from flows.steps.sample import draw_of

_log = get_logger()

MAX_BYTES = 128 * 1024 * 1024
"""What may wait for an interval's end; beyond it the interval ends at once, and another begins."""

SET_BACK = 10_000_000
"""Microseconds by which received_at may fall before it is taken for a clock that was set back."""

_NO_KEYS = np.empty(0, np.uint64)


def open_sampler(step: Sample, index: int, stage: int, engine: duckdb.DuckDBPyConnection) -> Operator:
    """The operator of a `sample` that has a memory, the step `index` of its stream, after `stage` other samples."""
    return _Sampler(step, index, stage, engine)


class _Sampler:
    """Belongs to one thread."""

    def __init__(self, step: Sample, index: int, stage: int, engine: duckdb.DuckDBPyConnection) -> None:
        rate, self._key = 0.0, step.key
        if step.per is not None:
            rate, self._key = step.per.events_per_second, step.per.key
        elif step.dynamic is not None:
            rate, self._key = step.dynamic.target_per_second, step.dynamic.key
        self._together = step.dynamic is not None
        self._keep = step.keep
        self._limit = math.ceil(rate)
        self._length = round(self._limit / rate * 1_000_000)  # microseconds
        self._index = index
        self._stage = stage
        self._queries = OfShapes(engine, self._query)
        self._interval: int | None = None  # the one that is open, in lengths since 1970
        self._waiting = Waiting()
        self._keys = _NO_KEYS  # those of the open interval, sorted, and how many events each had
        self._seen = np.empty(0, np.int64)

    def take(self, events: Flat) -> list[Flat]:
        """Takes events; gives those of the intervals that are over."""
        if not events.table.num_rows:
            return []
        received = events.table.column(dotted(RECEIVED_AT)).cast(pa.int64()).to_numpy()
        out = self._end(None) if self._is_set_back(int(received.max())) else []
        fresh = self._read(events)
        interval = received // self._length
        if self._interval is not None:
            interval = np.maximum(interval, self._interval)
        interval = np.maximum.accumulate(interval)
        drawn = ~fresh.keep
        fresh.key[drawn] = bounded(interval[drawn], fresh.key[drawn], self._keys)
        out += self._pass(fresh, interval, int(interval[-1]))
        if self._waiting.bytes > MAX_BYTES:
            _log.warning("a sample's interval ends early: too much waits for its end", step=self._index)
            out += self._end(self._interval)
        return out

    def tick(self, now: int) -> list[Flat]:
        """Gives the open interval's events when it is over."""
        if self._is_set_back(now):
            return self._end(None)
        if self._interval is None or now // self._length <= self._interval or not self._waiting.rows:
            return []
        return self._end(self._interval + 1)

    def finish(self) -> list[Flat]:
        """Gives the open interval's events."""
        return self._end(None)

    def letters(self) -> list[tuple[Flat, str]]:
        """None: an event is kept or dropped."""
        return []

    def changes(self) -> Changes:
        """What has come to wait and what has gone, and the counts that have changed."""
        return self._waiting.changes((self._interval, self._keys, self._seen))

    def restore(self, pieces: Mapping[str, pa.Table]) -> None:
        """Takes up the open interval."""
        self._interval, self._keys, self._seen = self._waiting.restore(pieces)
        if self._interval is not None:  # of a piece there may be more than waited
            self._pass(None, np.full(self._waiting.rows, self._interval), self._interval, known=True)

    def _is_set_back(self, newest: int) -> bool:
        return self._interval is not None and newest + SET_BACK < self._interval * self._length

    def _end(self, then: int | None) -> list[Flat]:
        """Ends the open interval. What comes later than it is of the interval `then` at the earliest; None: of its own."""
        ended, self._interval = self._interval, then
        return [] if ended is None else self._pass(None, np.full(self._waiting.rows, ended), ended + 1)

    def _pass(self, fresh: Kept | None, interval: Any, open_: int, *, known: bool = False) -> list[Flat]:
        """Chooses among what waits and what is `fresh`, and gives what is of an interval before `open_`.

        `interval` is that of each; what is dropped is counted unless it is `known`.
        """
        before = self._waiting.rows
        if fresh is not None:
            interval = np.concatenate([np.full(before, self._interval or 0), interval])
            self._waiting.add(fresh)
            self._interval = open_
        key, draw, keep = self._waiting.arrays()
        drawn = np.flatnonzero(~keep)
        choice = choose(interval[drawn], key[drawn], draw[drawn], self._limit, together=self._together)
        seen = np.bincount(choice.group[drawn >= before], minlength=len(choice.keys))
        if len(self._keys):  # each has an event that waits: they are among the groups of the first interval
            first = choice.keys[choice.intervals == interval[0]]
            seen[np.searchsorted(first, self._keys)] += self._seen
        rate = np.ones(len(interval))
        rate[drawn] = (choice.taken / seen)[choice.group]
        stays = np.ones(len(interval), bool)
        stays[drawn] = choice.chosen
        if not known:
            self._count(len(drawn) - int(choice.chosen.sum()))
        is_open = choice.intervals >= open_
        self._keys, self._seen = choice.keys[is_open], seen[is_open]
        return self._waiting.release(stays, interval < open_, rate)

    def _count(self, dropped: int) -> None:
        if dropped:
            EVENTS_DROPPED.labels(self._waiting.stream, f"steps[{self._index}]", "true").inc(dropped)

    def _read(self, events: Flat) -> Kept:
        found, _ = self._queries.run(events.columns, events.table)
        key, draw, keep = (found.column(place).to_numpy() for place in range(3))
        return Kept(events, np.array(key), draw, keep)

    def _query(self, columns: Columns, source: str) -> tuple[str, None]:
        key, keep = "1::UBIGINT", "false"
        if self._key is not None:
            compiled = compile_expression(self._key, columns)
            text = as_text(Value(compiled.sql, compiled.type)).sql
            key = f"coalesce(md5_number_lower(CAST({text} AS VARCHAR)), 1)"
            self._warn(compiled.warning)
        if self._keep is not None:
            compiled = compile_expression(self._keep, columns, condition=True)
            keep = f"coalesce({compiled.sql}, false)"
            self._warn(compiled.warning)
        draw = draw_of(column(EVENT_ID), self._stage)
        return f"SELECT {key}::UBIGINT, {draw}, {keep} FROM (SELECT {selection(columns)} FROM {source})", None

    def _warn(self, warning: str | None) -> None:
        if warning:
            _log.warning("an expression is NULL for every event of this shape", step=self._index, why=warning)
