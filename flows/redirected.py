"""Events that are sent again for one destination alone: `headrace dlq replay` of what that destination had refused.

They go through the pipeline as it is now, and only the rows for that destination count; the others have the event. One
that the configuration no longer sends there must not vanish: it becomes a dead letter again.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.batch import StreamLines
from connectors.sinks import dead_letters
from connectors.sinks.base import Rows
from flows.config import Stream
from flows.letters import NO_EVENT, Aside
from flows.processor import StreamProcessor
from flows.stages import SET_ASIDE
from flows.steps import Filter, has_memory


def without_memory(stream: Stream) -> Stream:
    """The stream with nothing that remembers: what has passed its windows and rollups must not be counted there again.

    The other steps keep their places, by which they are named.
    """
    steps = tuple(Filter("true") if has_memory(step) else step for step in stream.steps)
    return msgspec.structs.replace(stream, steps=steps, rollups=())


def redirected(
    lines: StreamLines, processor: StreamProcessor, *, only: str | None = None
) -> tuple[dict[str, pa.Table], list[Aside]]:
    """(rows by destination, what is set aside) of lines that are for `lines.to`; with `only` what of it is for that one."""
    to = lines.to
    assert to is not None
    if only not in (None, to, dead_letters.NAME):
        return {}, []
    taken = processor.process(lines, only=to if only == to else None)
    asides = asides_of(taken, to)
    rows = taken.pop(to, None)
    strays = _elsewhere(lines.table, rows, list(taken.values()))
    if strays is not None:
        asides.append(Aside(dead_letters.ROUTES, strays, f"its routes do not lead to {to!r}", to))
    if only == dead_letters.NAME or rows is None:
        return {}, asides
    return {to: rows}, asides if only is None else []


def asides_of(taken: dict[str, pa.Table], to: str | None = None) -> list[Aside]:
    """What a processor has set aside, taken out of what it gave."""
    unreadable, unfit = taken.pop(dead_letters.NAME, None), taken.pop(SET_ASIDE, None)
    found = [] if unreadable is None else [Aside("parse", unreadable, NO_EVENT, to)]
    return found if unfit is None else [*found, Aside("parse", unfit, to=to)]


def in_offset_order(parts: Sequence[Rows]) -> list[Rows]:
    """The parts, those of one stream cut and put in the order of their offsets: a destination takes them so."""
    by_stream: dict[str, list[pa.Table]] = {}
    for part in parts:
        by_stream.setdefault(part.stream, []).append(part.table)
    return [Rows(stream, table) for stream, tables in by_stream.items() for table in _interleaved(tables)]


def _interleaved(tables: list[pa.Table]) -> list[pa.Table]:
    if len(tables) == 1:
        return tables
    offsets = np.concatenate([table.column("_offset").to_numpy() for table in tables])
    owner = np.repeat(np.arange(len(tables)), [table.num_rows for table in tables])
    order = np.argsort(offsets, kind="stable")
    owner = owner[order]
    cuts = [0, *(np.flatnonzero(np.diff(owner)) + 1).tolist(), len(owner)]
    taken = [0] * len(tables)
    runs = []
    for start, stop in itertools.pairwise(cuts):
        place = int(owner[start])
        runs.append(tables[place].slice(taken[place], stop - start))
        taken[place] += stop - start
    return runs


def _elsewhere(lines: pa.Table, rows: pa.Table | None, others: list[pa.Table]) -> pa.Table | None:
    """The lines of the events that `others` have and `rows` has not."""
    known = set() if rows is None else set(rows.column("event_id").to_pylist())
    strays = {one for table in others for one in table.column("event_id").to_pylist()} - known
    if not strays:
        return None
    ids = pc.binary_join_element_wise(lines.column("request_id"), lines.column("index").cast(pa.string()), "-")
    return lines.filter(pc.is_in(ids, pa.array(sorted(strays))))
