"""The step `window` at work: events wait for the watermark, then go on with what their key was in the time before them.

What is released at once is one DuckDB window query over the released events and what is remembered of their keys. The
watermark makes the result exact: when an event is released, whatever its window can hold has come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.logger import get_logger
from connectors.telemetry import EVENTS_LATE
from flows.columns import LATE, STREAM, Columns, Path, column, dotted
from flows.expression import compile_expression
from flows.expression.paths import resolve_names
from flows.expression.values import Value, as_text
from flows.stateful.aggregates import Aggregates
from flows.stateful.events import Reader, ordered, received, registered, selection
from flows.stateful.frames import frequent_query, often, rare_query
from flows.stateful.history import History
from flows.stateful.operator import Changes, Flat, Operator
from flows.stateful.pending import Chunk, Pending
from flows.stateful.pieces import Saved, under
from flows.stateful.slots import NOTHING
from flows.stateful.watermark import Watermark
from flows.steps import Window
from flows.steps.results import leaves
from flows.steps.set import assign

_log = get_logger()

_FULL = 10_000  # events in a batch: there is a backlog
_MOST = 100_000  # events that are ready and held for the sake of speed
_SHARE = 3  # of what is remembered: a release of as many events as a third of it is worth the look at all
_SEGMENTS = 8  # that the length of a window is cut into: so much more than needed is remembered
_MARKS = "marks"

Field = tuple[Path, str, str]
"""Path, SQL name and DuckDB type of a value to be put into an event."""


def open_window(step: Window, engine: duckdb.DuckDBPyConnection) -> Operator:
    """The step at work on `engine`, with nothing remembered yet."""
    return _Window(step, engine)


def microseconds(length: timedelta) -> int:
    """A duration as a number of microseconds."""
    return length // timedelta(microseconds=1)


class _Window:
    def __init__(self, step: Window, engine: duckdb.DuckDBPyConnection) -> None:
        self._step = step
        self._engine = engine
        self._length = microseconds(step.length)
        self._aggregates = Aggregates(step.aggregate)
        self._reader = Reader(engine, self._kept)
        self._watermark = Watermark(microseconds(step.lateness), microseconds(step.idle))
        self._pending = Pending()
        self._history = History(engine, ["k", *self._aggregates.names], self._length // _SEGMENTS)
        self._next = 0  # the number of the next event to go on, by which all that go on are in order
        self._saved = Saved()

    def take(self, events: Flat) -> list[Flat]:
        if not events.table.num_rows:
            return []
        slots, types, times = self._reader.read(events)
        late = times < self._watermark.follow(times, received(events))
        given = []
        if late.any():
            given = self._late(Flat(events.table.filter(pa.array(late)), events.columns))
            on_time = pa.array(~late)
            events, slots, times = (
                Flat(events.table.filter(on_time), events.columns),
                slots.filter(on_time),
                times[~late],
            )
        if len(times):
            self._pending.add(events, slots, types, times)
        return given if self._may_wait(len(times)) else given + self._release()

    def tick(self, now: int) -> list[Flat]:
        self._watermark.settle(now)
        return self._release()

    def finish(self) -> list[Flat]:
        self._watermark.end()
        return self._release()

    def letters(self) -> list[tuple[Flat, str]]:
        return []

    def changes(self) -> Changes:
        live = {**self._pending.pieces(), **self._history.pieces()}
        return self._saved.changes(live, (*self._watermark.marks(), self._next))

    def restore(self, pieces: Mapping[str, pa.Table]) -> None:
        marks = self._saved.restored(pieces)
        if marks:
            self._watermark.take_up((marks[0], marks[1], marks[2]))
            self._next = marks[3]
        self._pending.restore(under("pending/", pieces), self._watermark.value, self._reader.read)
        self._history.restore(under("history/", pieces))

    def _kept(self, columns: Columns) -> list[tuple[str, Value]]:
        """What is kept of an event: its key, as a text, and the slots."""
        key = compile_expression(self._step.key, columns)
        if key.warning:
            _log.warning(
                "a window's key is NULL for every event of this shape", window=self._step.name, why=key.warning
            )
        text = f"CAST({as_text(Value(key.sql, key.type)).sql} AS VARCHAR)"
        slots = zip(self._aggregates.names, self._aggregates.slots(columns), strict=True)
        return [("k", Value(text, "VARCHAR")), *slots]

    def _late(self, events: Flat) -> list[Flat]:
        """Late events go on without the aggregates, marked."""
        stream = events.table.column(dotted(STREAM))[0].as_py()
        EVENTS_LATE.labels(stream, f"window.{self._step.name}").inc(events.table.num_rows)
        nothing = [(self._path(name), "NULL", NOTHING) for name in self._step.aggregate]
        given = self._placed(events, nothing)
        marked = pa.array(np.ones(given.table.num_rows, bool))
        table = given.table.drop_columns(dotted(LATE)) if LATE in given.columns else given.table
        return [Flat(table.append_column(dotted(LATE), marked), {**given.columns, LATE: "BOOLEAN"})]

    def _may_wait(self, came: int) -> bool:
        """Whether more comes at once, so that what is ready had better be computed with it: each time costs a look at all."""
        ready = self._pending.count(self._watermark.value)
        return came >= _FULL and ready < min(self._history.size // _SHARE, _MOST)

    def _release(self) -> list[Flat]:
        """The events before the watermark, with their aggregates, in the order of their time."""
        ready = self._pending.ready(self._watermark.value)
        given = []
        if ready:
            first = self._next
            numbers, released = self._remember(ready)
            since = min(int(chunk.times[0]) for chunk in ready) - self._length
            values, fields = self._compute(released, since)
            for events, found in ordered(self._engine, [chunk.events for chunk in ready], numbers):
                part = values if len(found) == values.num_rows else values.take(pa.array(found - first))
                table = events.table
                for name in part.column_names:
                    table = table.append_column(name, part.column(name))
                given.append(self._placed(Flat(table, events.columns), fields))
        self._history.drop(self._watermark.value - self._length)
        return given

    def _remember(self, ready: Sequence[Chunk]) -> tuple[list[Any], pa.Table]:
        """Numbers the events in the order of their time, those of one instant by receipt, and keeps their slots.

        Gives each chunk's numbers, and of all events `k, t, n`.
        """
        times = np.concatenate([chunk.times for chunk in ready])
        order = np.argsort(times, kind="stable")
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(self._next, self._next + len(order))
        numbers = np.split(ranks, np.cumsum([len(chunk.times) for chunk in ready])[:-1])
        self._next += len(order)
        by_types: dict[tuple[str, ...], list[int]] = {}
        for place, chunk in enumerate(ready):
            by_types.setdefault(chunk.types, []).append(place)
        released = []
        for types, places in by_types.items():
            t = np.concatenate([ready[place].times for place in places])
            n = np.concatenate([numbers[place] for place in places])
            slots = pa.concat_tables([ready[place].slots for place in places])
            rows = slots.append_column("t", pa.array(t)).append_column("n", pa.array(n))
            with registered(self._engine, {"window_released": rows}):
                query = "SELECT * FROM window_released ORDER BY n"
                self._history.append(query, types, (int(t.min()), int(t.max())), (int(n.min()), int(n.max())))
            released.append(rows.select(["k", "t", "n"]))
        return numbers, pa.concat_tables(released)

    def _compute(self, released: pa.Table, since: int) -> tuple[pa.Table, list[Field]]:
        """The aggregates of the events (`k, t, n`), in the order of their numbers, and what they are."""
        history, types = self._history.rows(since)
        calls = self._aggregates.computed(types[1:], "n")
        items, fields = list[str](), list[Field]()
        for one in self._aggregates.results([kind for _, kind in calls]):
            if one.type == NOTHING:
                fields.append((self._path(one.name), "NULL", NOTHING))
                continue
            for below, sql, kind in leaves(one.sql, one.type):
                fields.append(((*self._path(one.name), *below), f"_window{len(items)}", kind))
                items.append(f"{sql} AS _window{len(items)}")
        texts = [sql for sql, _ in calls]
        frequent = often(released.column("k"), self._history.size)
        halves = {
            "window_rare": (released.filter(pc.invert(frequent)), rare_query(history, texts, self._length)),
            "window_often": (
                released.filter(frequent),
                frequent_query(history, texts, self._length, self._next - released.num_rows),
            ),
        }
        asked = {name: half for name, half in halves.items() if half[0].num_rows}
        with registered(self._engine, {name: rows for name, (rows, _) in asked.items()}):
            union = " UNION ALL ".join(query for _, query in asked.values())
            query = f"SELECT {', '.join(items) or 'n'} FROM ({union}) ORDER BY n"
            table = self._engine.sql(query).to_arrow_table()
        return table, fields

    def _path(self, name: str) -> Path:
        return ("event", self._step.name, name)

    def _placed(self, events: Flat, fields: list[Field]) -> Flat:
        """The events with the fields, which are columns of their table, in the place of what was there."""
        own = self._step.name.lower()
        met = any(path[0] == "event" and (len(path) == 1 or path[1].lower() == own) for path in events.columns)
        if not met and _is_empty(events.table, "_extra"):
            made = [field for field in fields if field[2] != NOTHING]
            names = [dotted(path) for path in events.columns]
            table = events.table.select([*names, *(name for _, name, _ in made)])
            table = table.rename_columns([*names, *(dotted(path) for path, _, _ in made)])
            return Flat(table, {**events.columns, **{path: kind for path, _, kind in made}})
        values = [(resolve_names(path, events.columns), name, kind) for path, name, kind in fields]
        assigned = assign(events.columns, values)
        items = [f"{sql} AS {column(path)}" for path, (sql, _) in assigned.items()]
        carried = "".join(f", {name}" for _, name, kind in fields if kind != NOTHING)
        with registered(self._engine, {"window_events": events.table}):
            table = self._engine.sql(
                f"SELECT {', '.join(items)} FROM (SELECT {selection(events.columns)}{carried} FROM window_events)"
            ).to_arrow_table()
        return Flat(table, {path: kind for path, (_, kind) in assigned.items()})


def _is_empty(table: pa.Table, name: str) -> bool:
    return name not in table.column_names or table.column(name).null_count == table.num_rows
