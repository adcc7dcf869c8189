"""The query that gives each of some events the aggregates over its window, in the cheaper of two ways for each key.

A window function computes every row it is given, those of the past too. For a key of which only a few events are asked
about, it is cheaper to join each with the rows of its window and group them. A key's events all go one way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flows.expression.aggregate import result

_OFTEN = 8  # events of a key, from which on the window function is cheaper
_SURELY = 4 * _OFTEN  # events of a key, which may have had far more of them before: joining could be of any size
_FEW = 100_000  # rows: joining so many costs less than a second query over all that is remembered


def often(keys: Any, remembered: int) -> Any:
    """Which of these keys (an Arrow array of texts) come often among them: an array of booleans.

    None do where what they would be joined with, by the `remembered` rows of all keys, is not worth a query of its own.
    """
    counts = pc.value_counts(keys)
    times = counts.field("counts").to_numpy()
    frequent = times >= _OFTEN
    joined = float((times[frequent].astype(float) ** 2).sum()) * remembered / max(len(keys), 1)
    if joined < _FEW and times.max(initial=0) < _SURELY:
        return pa.nulls(len(keys), pa.bool_()).fill_null(False)
    return pc.is_in(keys, value_set=counts.field("values").filter(pa.array(frequent)))


def rare_query(history: str, calls: Sequence[str], length: int) -> str:
    """`n` and `result(i)` of each call for the events of the relation `window_rare` (`k, t, n`).

    `history` is a query of the rows of all events, these among them: `k, t, n` and the slots; `length` is in microseconds.
    """
    items = ", ".join(f"{sql} AS {result(place)}" for place, sql in enumerate(calls))
    return (
        f"SELECT event_n AS n, {items} FROM (SELECT k AS event_k, t AS event_t, n AS event_n FROM window_rare) e"
        f" JOIN ({history}) h ON h.k IS NOT DISTINCT FROM event_k AND h.t BETWEEN event_t - {length} AND event_t"
        " GROUP BY event_n"
    )


def frequent_query(history: str, calls: Sequence[str], length: int, first: int) -> str:
    """The same for the events numbered from `first` on whose keys are in the relation `window_often`."""
    items = ", ".join(f"{sql} OVER w AS {result(place)}" for place, sql in enumerate(calls))
    frame = f"PARTITION BY k ORDER BY t RANGE BETWEEN {length} PRECEDING AND CURRENT ROW"
    return (
        f"SELECT * FROM (SELECT n, {items} FROM ({history}) h SEMI JOIN window_often f ON h.k IS NOT DISTINCT FROM f.k"
        f" WINDOW w AS ({frame})) WHERE n >= {first}"
    )
