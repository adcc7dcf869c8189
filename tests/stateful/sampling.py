"""Events for a sampler, and what it should make of them, worked out one event at a time."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from flows.columns import SYSTEM, Path, column
from flows.stateful.operator import Flat, Operator
from flows.steps import Sample

SECOND = 1_000_000
START = 1_700_000_000 * SECOND  # divisible by every interval of the tests


class Event(NamedTuple):
    """`at` is its received_at, microseconds after `START`."""

    at: int
    key: str | None
    keep: bool = False
    rate: float = 1.0


def flat(
    events: Sequence[Event], engine: duckdb.DuckDBPyConnection, first: int = 0, also: dict[Path, str] | None = None
) -> Flat:
    """The events, numbered from `first`: their id is `e<number>`. `also` are columns that only these have."""
    plain = pa.table(
        {
            "number": pa.array(range(first, first + len(events)), pa.int64()),
            "received": pa.array([START + event.at for event in events], pa.timestamp("us", "UTC")),
            "key": pa.array([event.key for event in events], pa.string()),
            "keep": pa.array([event.keep for event in events], pa.bool_()),
            "rate": pa.array([event.rate for event in events], pa.float64()),
        }
    )
    given = {
        "event_id": "'e' || number",
        "timestamp": "received",
        "received_at": "received",
        "source": "'s'",
        "stream": "'web'",
        "_offset": "number",
        "_sample_rate": "rate",
        "event.key": "key",
        "event.keep": "keep",
    }
    columns: dict[Path, str] = {**SYSTEM, ("event", "key"): "VARCHAR", ("event", "keep"): "BOOLEAN", **(also or {})}
    items = [
        f"CAST({given.get('.'.join(path), 'number')} AS {kind}) AS {column(path)}"
        for path, kind in columns.items()
        if path != ("_extra",)
    ]
    items.append('CAST(NULL AS MAP(VARCHAR, JSON)) AS "_extra"')
    engine.register("plain", plain)
    table = engine.sql(f"SELECT {', '.join(items)} FROM plain").to_arrow_table()
    engine.unregister("plain")
    return Flat(table, columns)


def rates(parts: Sequence[Flat]) -> dict[int, float]:
    """What came out: the events by number, in the order they came, each with its `_sample_rate`."""
    found: dict[int, float] = {}
    for part in parts:
        ids = part.table.column("event_id").to_pylist()
        for name, rate in zip(ids, part.table.column("_sample_rate").to_pylist(), strict=True):
            assert int(name[1:]) not in found, "an event came out twice"
            found[int(name[1:])] = rate
    return found


def ran(operator: Operator, events: Sequence[Event], engine: duckdb.DuckDBPyConnection, size: int = 1000) -> list[Flat]:
    """What comes out of `events` in batches of `size`, and of the end."""
    whole, out = flat(events, engine), list[Flat]()
    for first in range(0, len(events), size):
        out += operator.take(part(whole, first, size))
    return out + operator.finish()


def part(events: Flat, first: int, size: int) -> Flat:
    """`size` of the events, from the one numbered `first` on."""
    return Flat(events.table.slice(first, size), events.columns)


def draw(number: int, stage: int = 0) -> int:
    text = (f"sample {stage}:" if stage else "") + f"e{number}"
    return int(hashlib.sha256(text.encode()).hexdigest()[:13], 16)


def expected(step: Sample, events: Sequence[Event]) -> dict[int, float]:
    """What the documentation says of `sample`, one event at a time."""
    per_second = step.per.events_per_second if step.per else step.dynamic.target_per_second if step.dynamic else 0
    limit = math.ceil(per_second)
    length = round(limit / per_second * SECOND)
    intervals: dict[int, dict[str | None, list[int]]] = defaultdict(lambda: defaultdict(list))
    latest = 0
    found: dict[int, float] = {}
    for number, event in enumerate(events):
        latest = max(latest, (START + event.at) // length)
        if event.keep and step.keep:
            found[number] = event.rate
        else:
            intervals[latest][event.key].append(number)
    for keys in intervals.values():
        by_turn = {key: sorted(numbers, key=draw) for key, numbers in keys.items()}
        if step.per:
            taken = {key: numbers[:limit] for key, numbers in by_turn.items()}
        else:
            turns = sorted(
                (turn, draw(number), key) for key, numbers in by_turn.items() for turn, number in enumerate(numbers)
            )
            kept = {(turn, key) for place, (turn, _, key) in enumerate(turns) if turn == 0 or place < limit}
            taken = {
                key: [number for turn, number in enumerate(numbers) if (turn, key) in kept]
                for key, numbers in by_turn.items()
            }
        for key, numbers in taken.items():
            for number in numbers:
                found[number] = events[number].rate * (len(numbers) / len(keys[key]))
    return dict(sorted(found.items()))


def restored(operator: Operator, fresh: Operator, disk: dict[str, Any]) -> Operator:
    """`fresh` with the state of `operator`, by way of `disk`, as files would keep it."""
    save(operator, disk)
    pieces = {name: pa.ipc.open_stream(data).read_all() for name, data in disk.items()}
    fresh.restore(pieces)
    return fresh


def save(operator: Operator, disk: dict[str, Any]) -> int:
    """Writes the changes of the state; how many rows that was."""
    changes = operator.changes()
    for name in changes.gone:
        del disk[name]
    for name, table in changes.put.items():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        disk[name] = sink.getvalue()
    return sum(table.num_rows for table in changes.put.values())
