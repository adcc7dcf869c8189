"""A rollup at work: events are counted into the windows that they belong to, and a window that closes gives its rows.

A window closes once, when the watermark reaches its end; an event that comes after that is late and goes to the dead
letters. Where every aggregate can be computed in two steps, what is kept is a row for each group of a batch, and not for
each event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from connectors.telemetry import EVENTS_LATE
from flows.columns import EVENT_ID, TIMESTAMP_TYPE, Columns, Path, column, literal
from flows.expression import compile_expression
from flows.expression.aggregate import result
from flows.expression.values import Value, as_text
from flows.rollups import Rollup, by_columns, table_of
from flows.stateful.aggregates import Aggregates
from flows.stateful.events import Reader, received, registered
from flows.stateful.history import History
from flows.stateful.operator import Changes, Flat, Operator
from flows.stateful.partials import Partials, can_be_partial
from flows.stateful.pieces import Saved, under
from flows.stateful.slots import NOTHING, value_slot
from flows.stateful.watermark import NEVER, Watermark
from flows.stateful.window import microseconds
from flows.steps.results import leaves

_SEGMENTS = 8


def open_rollup(settings: Rollup, stream: str, engine: duckdb.DuckDBPyConnection) -> Operator:
    """The rollup of the stream called `stream` at work on `engine`, with nothing remembered yet.

    What it gives are its rows, and not the events: the columns `event_id, window_start, window_end`, those of `by`, the
    aggregates, `date`; a column that is NULL in all rows may be left out.
    """
    return _Rollup(settings, stream, engine)


class _Rollup:
    def __init__(self, settings: Rollup, stream: str, engine: duckdb.DuckDBPyConnection) -> None:
        self._settings = settings
        self._stream = stream
        self._engine = engine
        self._every = microseconds(settings.every)
        self._by = by_columns(settings)
        self._keys = [f"b{place}" for place in range(len(self._by))]
        self._aggregates = Aggregates(settings.aggregate)
        self._partials = Partials(self._aggregates) if can_be_partial(self._aggregates) else None
        lateness = microseconds(settings.lateness)
        self._watermark = Watermark(lateness, microseconds(settings.idle), self._every)
        self._reader = Reader(engine, self._kept)
        names = self._aggregates.names if self._partials is None else self._partials.names
        condensed = None if self._partials is None else self._condensed
        self._history = History(engine, [*self._keys, *names], max(self._every, lateness // _SEGMENTS), condensed)
        self._next = 0
        self._closed = NEVER  # windows that end by then have given their rows
        self._saved = Saved()
        self._letters: list[tuple[Flat, str]] = []

    def take(self, events: Flat) -> list[Flat]:
        if not events.table.num_rows:
            return []
        slots, types, times = self._reader.read(events)
        met = self._watermark.follow(times, received(events))
        late = (times // self._every + 1) * self._every <= met
        if late.any():
            self._set_aside(Flat(events.table.filter(pa.array(late)), events.columns))
            slots, times = slots.filter(pa.array(~late)), times[~late]
        if len(times):
            self._remember(slots, types, times)
        return self._close()

    def tick(self, now: int) -> list[Flat]:
        self._watermark.settle(now)
        return self._close()

    def finish(self) -> list[Flat]:
        self._watermark.end()
        return self._close()

    def letters(self) -> list[tuple[Flat, str]]:
        letters, self._letters = self._letters, []
        return letters

    def changes(self) -> Changes:
        return self._saved.changes(self._history.pieces(), (*self._watermark.marks(), self._next, self._closed))

    def restore(self, pieces: Mapping[str, pa.Table]) -> None:
        marks = self._saved.restored(pieces)
        if marks:
            self._watermark.take_up((marks[0], marks[1], marks[2]))
            self._next, self._closed = marks[3:]
        self._history.restore(under("history/", pieces))

    def _kept(self, columns: Columns) -> list[tuple[str, Value]]:
        """What is kept of an event: what it is by, and the slots."""
        compiled = [compile_expression(text, columns) for text in self._by.values()]
        keys = [value_slot(Value(one.sql, one.type)) for one in compiled]
        slots = self._aggregates.slots(columns)
        return [*zip(self._keys, keys, strict=True), *zip(self._aggregates.names, slots, strict=True)]

    def _set_aside(self, events: Flat) -> None:
        name = self._settings.name
        EVENTS_LATE.labels(self._stream, f"rollups.{name}").inc(events.table.num_rows)
        self._letters.append((events, f"too late for the rollup {name}: its window was closed"))

    def _remember(self, slots: pa.Table, types: Sequence[str], times: Any) -> None:
        numbers = np.arange(self._next, self._next + len(times))
        self._next += len(times)
        at = times if self._partials is None else times // self._every * self._every
        rows = slots.append_column("t", pa.array(at)).append_column("n", pa.array(numbers))
        query, kinds = "SELECT * FROM rollup_events", tuple(types)
        if self._partials is not None:
            made = self._partials.of_events(types[len(self._keys) :])
            query = (
                self._grouped("rollup_events", [(name, sql) for name, sql, _ in made], "min(n) AS n") + " ORDER BY n"
            )
            kinds = (*types[: len(self._keys)], *(kind for _, _, kind in made))
        with registered(self._engine, {"rollup_events": rows}):
            self._history.append(query, kinds, (int(at.min()), int(at.max())), (int(numbers[0]), int(numbers[-1])))

    def _condensed(self, table: str, types: tuple[str, ...]) -> str:
        assert self._partials is not None
        made = self._partials.of_groups(types[len(self._keys) :])
        rows = f"(SELECT * FROM {table} WHERE t >= {self._closed})"
        return self._grouped(rows, [(name, sql) for name, sql, _ in made])

    def _grouped(self, source: str, made: Sequence[tuple[str, str]], *also: str) -> str:
        keys = ["t", *self._keys]
        items = [*keys, *also, *(f"{sql} AS {name}" for name, sql in made)]
        return f"SELECT {', '.join(items)} FROM {source} GROUP BY {', '.join(keys)}"

    def _close(self) -> list[Flat]:
        """The rows of the windows that the watermark has reached the end of."""
        bound = self._watermark.value // self._every * self._every
        since, oldest = self._closed, self._history.oldest
        if bound <= since:
            return []
        self._closed = bound
        given = [] if oldest is None or oldest >= bound else [self._rows(since, bound)]
        self._history.drop(bound)
        return [flat for flat in given if flat.table.num_rows]

    def _rows(self, since: int, bound: int) -> Flat:
        """The rows of the windows that begin from `since` on and before `bound`."""
        history, types = self._history.rows(since)
        kinds, slots = types[: len(self._keys)], types[len(self._keys) :]
        calls = self._aggregates.computed(slots, "t, n") if self._partials is None else self._partials.calls(slots)
        sums = [f"{sql} AS {result(place)}" for place, (sql, _) in enumerate(calls)]
        start = f"t - ((t % {self._every}) + {self._every}) % {self._every}"
        keys = ["start", *self._keys]
        groups = (
            f"SELECT {', '.join([*keys, *sums])} FROM (SELECT *, {start} AS start FROM ({history})"
            f" WHERE t >= {since} AND t < {bound}) GROUP BY {', '.join(keys)} ORDER BY start"
        )
        columns = self._columns(kinds, [kind for _, kind in calls])
        items = [f"{sql} AS {column(path)}" for path, (sql, _) in columns.items()]
        table = self._engine.sql(f"SELECT {', '.join(items)} FROM ({groups})").to_arrow_table()
        return Flat(table, {path: kind for path, (_, kind) in columns.items()})

    def _columns(self, kinds: Sequence[str], calls: Sequence[str]) -> dict[Path, tuple[str, str]]:
        """(SQL, type) of each column of the rows."""
        begin, end = "make_timestamptz(start)", f"make_timestamptz(start + {self._every})"
        columns: dict[Path, tuple[str, str]] = {
            EVENT_ID: (self._identity(kinds), "VARCHAR"),
            ("window_start",): (begin, TIMESTAMP_TYPE),
            ("window_end",): (end, TIMESTAMP_TYPE),
        }
        for name, key, kind in zip(self._by, self._keys, kinds, strict=True):
            if kind != NOTHING:
                columns[name,] = (key, kind)
        for one in self._aggregates.results(calls):
            if one.type != NOTHING:
                parts = leaves(one.sql, one.type)
                whole = len(parts) == 1 and not parts[0][0]
                columns[one.name,] = parts[0][1:] if whole else (f"to_json({one.sql})", "JSON")
        columns["date",] = ("CAST(make_timestamp(start) AS DATE)", "DATE")
        return columns

    def _identity(self, kinds: Sequence[str]) -> str:
        """SQL of a row's id: the same for the same window and values, whatever their types were."""
        texts = [as_text(Value(key, kind)).sql for key, kind in zip(self._keys, kinds, strict=True)]
        listed = ", ".join(f"CAST({text} AS VARCHAR)" for text in texts)
        seconds = "%Y-%m-%dT%H:%M:%S" + ("" if self._every % 1_000_000 == 0 else ".%f")
        start = f"strftime(make_timestamp(start), '{seconds}Z')"
        values = f"left(sha256(CAST(to_json(CAST([{listed}] AS VARCHAR[])) AS VARCHAR)), 16)"
        return f"{literal(table_of(self._stream, self._settings) + '/')} || {start} || '/' || {values}"
