"""Events of different columns put together, in the order of a number, without a leaf or a value lost."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from flows.columns import Columns, Path, column, dotted
from flows.stateful.operator import Flat


def selection(columns: Columns) -> str:
    """The columns of a flat table in their own types, to select: Arrow lends JSON the type of a text."""
    return ", ".join(f"CAST({column(path)} AS {kind}) AS {column(path)}" for path, kind in columns.items())


def ordered(parts: Sequence[Flat], numbers: Sequence[Any]) -> list[tuple[Flat, Any]]:
    """The events of all `parts` by their `numbers` (int64, one array a part): runs of events, each with its numbers.

    Where the parts' columns can stand beside each other there is one run, and what a part does not have is NULL in it. A
    leaf whose type has changed in between cannot: then each run is of parts that go together.
    """
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
