"""Events between two steps: read for what is to be kept of them, and put together in an order, whatever their columns."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from flows.columns import RECEIVED_AT, TIMESTAMP, Columns, Path, column, dotted
from flows.expression.values import Value
from flows.queries import OfShapes
from flows.stateful.operator import Flat
from flows.stateful.slots import held_type
from flows.stateful.watermark import NEVER

_WIDER = {frozenset({"BIGINT", "DOUBLE"}): "DOUBLE"}


def selection(columns: Columns) -> str:
    """The columns of a flat table in their own types, to select: Arrow lends JSON the type of a text."""
    return ", ".join(f"CAST({column(path)} AS {kind}) AS {column(path)}" for path, kind in columns.items())


@contextmanager
def registered(engine: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table]) -> Iterator[None]:
    """Makes Arrow tables relations of the engine's for a while, by name."""
    for name, table in tables.items():
        engine.register(name, table)
    try:
        yield
    finally:
        for name in tables:
            engine.unregister(name)


def received(events: Flat) -> Any:
    """When each event was received, in UTC microseconds (int64)."""
    return events.table.column(dotted(RECEIVED_AT)).cast(pa.int64()).to_numpy()


class Reader:
    """Reads of events what is to be `kept`: by the events' columns, names and values over them. Belongs to one thread."""

    def __init__(self, engine: duckdb.DuckDBPyConnection, kept: Callable[[Columns], list[tuple[str, Value]]]) -> None:
        self._kept = kept
        self._queries = OfShapes(engine, self._query)

    def read(self, events: Flat) -> tuple[pa.Table, tuple[str, ...], Any]:
        """A table of what is kept of each event, its columns' types, and the events' times (int64, UTC microseconds)."""
        read, types = self._queries.run(events.columns, events.table)
        times = np.clip(read.column("t").to_numpy(), NEVER // 2, -NEVER // 2)
        return read.drop_columns("t"), types, times

    def _query(self, columns: Columns, source: str) -> tuple[str, tuple[str, ...]]:
        kept = self._kept(columns)
        items = [f"CAST({value.sql} AS {held_type(value.type)}) AS {name}" for name, value in kept]
        time = f"coalesce(epoch_us({column(TIMESTAMP)}), epoch_us({column(RECEIVED_AT)})) AS t"  # NULL is of no time
        query = f"SELECT {', '.join([time, *items])} FROM (SELECT {selection(columns)} FROM {source})"
        return query, tuple(value.type for _, value in kept)


def ordered(engine: duckdb.DuckDBPyConnection, parts: Sequence[Flat], numbers: Sequence[Any]) -> list[tuple[Flat, Any]]:
    """The events of all `parts` by their `numbers` (int64, one array a part): runs of events, each with its numbers.

    Where the parts' columns can stand beside each other there is one run, and what a part does not have is NULL in it. Where
    a leaf's type has changed and its values cannot be widened exactly, each run is of parts that go together.
    """
    parts = _widened(engine, parts)
    groups: list[tuple[dict[Path, str], list[int]]] = []
    for place, part in enumerate(parts):
        for columns, members in groups:
            if all(columns.get(path, kind) == kind for path, kind in part.columns.items()):
                columns.update(part.columns)
                members.append(place)
                break
        else:
            groups.append((dict(part.columns), [place]))
    sorted_groups = []
    for columns, members in groups:
        table = pa.concat_tables([_with(parts[place], columns) for place in members], promote_options="default")
        found = np.concatenate([numbers[place] for place in members])
        order = np.argsort(found, kind="stable")
        if not np.array_equal(order, np.arange(len(order))):
            table = table.take(pa.array(order))
        sorted_groups.append((Flat(table, columns), found[order]))
    return sorted_groups if len(sorted_groups) == 1 else _runs(sorted_groups)


def _widened(engine: duckdb.DuckDBPyConnection, parts: Sequence[Flat]) -> Sequence[Flat]:
    """The parts with the leaves whose types differ as the wider type, as they would be had it been known before."""
    kinds: dict[Path, set[str]] = {}
    for part in parts:
        for path, kind in part.columns.items():
            kinds.setdefault(path, set()).add(kind)
    wider = {path: _WIDER.get(frozenset(found), "JSON" if "JSON" in found else "") for path, found in kinds.items()}
    wider = {path: kind for path, kind in wider.items() if kind and len(kinds[path]) > 1}
    return [_cast(engine, part, wider) for part in parts] if wider else parts


def _cast(engine: duckdb.DuckDBPyConnection, part: Flat, wider: Columns) -> Flat:
    columns, table = dict(part.columns), part.table
    with registered(engine, {"widened_events": table}):
        for path, target in wider.items():
            if columns.get(path, target) == target:
                continue
            place, name = list(columns).index(path), column(path)
            value = f"to_json({name})" if target == "JSON" else f"CAST({name} AS {target})"
            exact = "true" if target == "JSON" else f"coalesce(bool_and(CAST({value} AS HUGEINT) = {name}), true)"
            source = f"(SELECT CAST({name} AS {columns[path]}) AS {name} FROM widened_events)"
            if engine.execute(f"SELECT {exact} FROM {source} LIMIT 1").fetchall() == [(True,)]:
                made = engine.sql(f"SELECT {value} FROM {source}").to_arrow_table().column(0)
                table, columns[path] = table.set_column(place, dotted(path), made), target
    return Flat(table, columns)


def _with(part: Flat, columns: Columns) -> pa.Table:
    """The part's table with all of these columns, in their order."""
    rows = part.table.num_rows
    names = set(part.table.column_names)
    arrays = {name: part.table.column(name) for name in names}
    types = [(dotted(path), kind) for path, kind in columns.items()]
    return pa.table({name: arrays.get(name, pa.nulls(rows)) for name, _ in types})


def _runs(groups: list[tuple[Flat, Any]]) -> list[tuple[Flat, Any]]:
    """The events of all groups in order, cut where the group changes."""
    numbers = np.concatenate([found for _, found in groups])
    owner = np.concatenate([np.full(len(found), place) for place, (_, found) in enumerate(groups)])
    order = np.argsort(numbers, kind="stable")
    owner = owner[order]
    cuts = [0, *(np.flatnonzero(np.diff(owner)) + 1).tolist(), len(owner)]
    taken = [0] * len(groups)
    runs = []
    for start, stop in itertools.pairwise(cuts):
        place, count = int(owner[start]), stop - start
        flat, found = groups[place]
        begin = taken[place]
        taken[place] += count
        runs.append((Flat(flat.table.slice(begin, count), flat.columns), found[begin : begin + count]))
    return runs
