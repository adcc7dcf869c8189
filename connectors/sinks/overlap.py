"""Rows that a table may have from before their stream had a lane: then it took them by partition and offset of the log.

To a lane's table rows are numbered by rounds, which tell nothing of those. Where the two can overlap, a row brings its
place in the log along, and the table, which knows how far it has each partition, passes over what it has.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from connectors.merging import split_places

PLACE = "_place"
"""A `connectors.merging.place`; NULL where the table cannot have the row."""


def fresh(rows: pa.Table, committed: Callable[[int], int]) -> pa.Table:
    """The rows that the table has not, without PLACE.

    `committed` gives the next offset that it wants of a partition of the log, and may raise Transient.
    """
    if PLACE not in rows.column_names:
        return rows
    partitions, offsets = split_places(rows.column(PLACE))
    known = pc.unique(partitions).drop_null().to_pylist()
    below = [pc.and_(pc.equal(partitions, one), pc.less(offsets, committed(one))) for one in known]
    rows = rows.drop_columns([PLACE])
    return rows.filter(pc.invert(pc.fill_null(reduce(pc.or_, below), False))) if below else rows


def without_places(rows: pa.Table) -> pa.Table:
    """The rows without PLACE: for a destination that cannot tell what it has."""
    return rows.drop_columns([PLACE]) if PLACE in rows.column_names else rows
