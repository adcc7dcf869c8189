"""Dead letters: events that could not go where they should, kept with the reason and where they came from.

A Delta table of its own under the data directory, with the same exactly-once commits as any other: the rows of one
origin are committed before what they were taken out of, so a crash in between writes neither twice nor never.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from connectors.sinks.settings import DEAD_LETTERS

NAME = DEAD_LETTERS

SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("stream", pa.string()),
        ("stage", pa.string()),
        ("step", pa.string()),
        ("destination", pa.string()),
        ("error", pa.string()),
        ("config_version", pa.string()),
        ("topic", pa.string()),
        ("partition", pa.int64()),
        ("offset", pa.int64()),
        ("index", pa.int64()),
        ("payload", pa.string()),
        ("received_at", pa.timestamp("us", "UTC")),
    ]
)
"""`stage`, `step` and `destination` say where; `topic`, `partition`, `offset` and `index` which event of the log it was."""

ROUTES = "routes"
"""The stage of an event that was sent again for one destination, which the configuration does not send it to."""


Place = Callable[[int], tuple[str, int]]
"""The topic of a partition of the log, and its number there: `connectors.log.Log.place`."""


def placed(letters: pa.Table, place: Place) -> pa.Table:
    """The letters, whose `partition` is the log's number, with `topic` and `partition` as a person finds the record."""
    numbers = letters["partition"]
    distinct = pc.unique(numbers)
    places = [place(number) for number in distinct.to_pylist()]
    at = pc.index_in(numbers, distinct)
    topics = pa.array([topic for topic, _ in places], pa.string()).take(at.combine_chunks())
    partitions = pa.array([partition for _, partition in places], pa.int64()).take(at.combine_chunks())
    for name, values in (("topic", topics), ("partition", partitions)):
        letters = letters.set_column(letters.column_names.index(name), SCHEMA.field(name), values)
    return letters


Fresh = Callable[[pa.Table], pa.Table]
"""Which of some dead letters (`SCHEMA`, and `_offset`) are to be kept: those that are not there yet."""


def of_lines(
    lines: pa.Table,
    *,
    stage: str,
    error: str,
    stream: str,
    partition: int,
    config_version: str,
    payload: bool,
    destination: str | None = None,
) -> pa.Table:
    """Dead letters of lines (`connectors.batch.LINES`) that no pipeline could take, with `_offset` for the writer.

    Their `partition` is the log's number: `placed` says where that is.

    Without `payload` only their place in the log is kept: what cannot be parsed cannot be masked. With `destination`
    they were on their way to that one alone.
    """
    count = lines.num_rows
    ids = [f"{r}-{i}" for r, i in zip(lines["request_id"].to_pylist(), lines["index"].to_pylist(), strict=True)]
    columns = {
        "event_id": ids,
        "stream": [stream] * count,
        "stage": [stage] * count,
        "step": [None] * count,
        "destination": [destination] * count,
        "error": [error] * count,
        "config_version": [config_version] * count,
        "topic": [None] * count,
        "partition": [partition] * count,
        "offset": lines["_offset"].to_pylist(),
        "index": lines["index"].to_pylist(),
        "payload": lines["line"] if payload else [None] * count,
        "received_at": lines["received_at"],
    }
    table = pa.table(columns, schema=SCHEMA)
    return table.append_column("_offset", lines["_offset"])


def of_events(
    events: pa.Table,
    *,
    stage: str,
    stream: str,
    partition: int,
    config_version: str,
    destination: str | None = None,
) -> pa.Table:
    """Dead letters of events that a step set aside, with `_offset` for the writer, and the log's number as `partition`.

    `events` has `event_id`, `step`, `error`, `index`, `payload`, `received_at` and `_offset`. With `destination` they
    were on their way to that one alone.
    """
    count = events.num_rows
    same = {
        "stream": stream,
        "stage": stage,
        "destination": destination,
        "config_version": config_version,
        "topic": None,
        "partition": partition,
    }
    columns = {name: pa.array([value] * count) for name, value in same.items()}
    columns["offset"] = events["_offset"]
    columns |= {name: events[name] for name in ("event_id", "step", "error", "index", "payload", "received_at")}
    letters = pa.table({field.name: columns[field.name].cast(field.type) for field in SCHEMA}, schema=SCHEMA)
    return letters.append_column("_offset", events["_offset"])
