"""Events that cannot go on become dead letters: what is kept of them, as `connectors.sinks.dead_letters` takes it.

A pipeline says what it sets aside (`Aside`), whoever runs it; `Letters` makes rows of that, and counts them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import duckdb
import msgspec
import pyarrow as pa

from connectors.merging import split_places
from connectors.sinks import dead_letters
from connectors.sinks.base import Rows
from connectors.telemetry import DEAD_LETTERS
from flows.columns import EVENT_ID, OFFSET, RECEIVED_AT, Columns, column, literal
from flows.config import Stream
from flows.output import rows_query
from flows.steps import Mask

NO_EVENT = "not an event: the record was not written by a gateway"


class Aside(msgspec.Struct, frozen=True):
    """Events set aside at `stage`: as `set_aside` gives them, or with an `error` as lines (`connectors.batch.LINES`).

    With `to` they were on their way to that destination alone.
    """

    stage: str
    events: pa.Table
    error: str | None = None
    to: str | None = None


class Letters:
    """Makes dead letters of what pipelines set aside. The lines of the streams that are `masked` are not shown."""

    def __init__(self, place: dead_letters.Place, config_version: str, masked: Collection[str] = ()) -> None:
        self._place = place
        self._version = config_version
        self._masked = frozenset(masked)

    def of(self, stream: str, aside: Aside, partition: int | None = None, *, counted_as: str | None = None) -> Rows:
        """The letters, with `_offset` for the writer; they are counted for the stream `counted_as`, if there is one.

        `partition` is that of the log; without one `_offset` holds places in all of its partitions.
        """
        if counted_as is not None:
            DEAD_LETTERS.labels(counted_as, aside.stage).inc(aside.events.num_rows)
        at = 0 if partition is None else partition
        if aside.error is None:
            letters = dead_letters.of_events(
                aside.events,
                stage=aside.stage,
                stream=stream,
                partition=at,
                config_version=self._version,
                destination=aside.to,
            )
        else:
            letters = dead_letters.of_lines(
                aside.events,
                stage=aside.stage,
                error=aside.error,
                stream=stream,
                partition=at,
                config_version=self._version,
                payload=stream not in self._masked,
                destination=aside.to,
            )
        if partition is None:
            letters = _numbered(letters)
        return Rows(dead_letters.NAME, dead_letters.placed(letters, self._place))


def letters_of(streams: Mapping[str, Stream], place: dead_letters.Place, version: str) -> Letters:
    """The dead letters of a configuration's pipelines, by its streams; `place` is the log's, `version` names it."""
    masked = [name for name, stream in streams.items() if any(isinstance(step, Mask) for step in stream.steps)]
    return Letters(place, version, masked)


def set_aside(engine: duckdb.DuckDBPyConnection, events: str, columns: Columns, step: str, error: str) -> pa.Table:
    """`event_id, step, error, index, payload, received_at, _offset` of the events of the query `events`.

    `columns` are theirs. The payload is the event as it is there: what must not be seen has to be masked before.
    """
    rows, _ = rows_query(columns, events)
    names = [item[0] for item in engine.execute(f"SELECT * FROM ({rows}) LIMIT 0").description]
    parts = [name for name in ("timestamp", "source", "event", "metadata") if name in names]
    event = f"to_json(struct_pack({', '.join(f'{name} := {name}' for name in parts)}))"
    rescued = "CASE WHEN _extra IS NOT NULL THEN json('{\"_rescued\":{' || _extra || '}}') ELSE '{}'::JSON END"
    return engine.sql(
        f"SELECT {column(EVENT_ID)}, {literal(step)} AS step, {literal(error)} AS error,"
        f" string_split({column(EVENT_ID)}, '-')[-1]::BIGINT AS index,"
        f" json_merge_patch('{{}}', {event}, {rescued})::VARCHAR AS payload,"
        f" {column(RECEIVED_AT)}, {column(OFFSET)} FROM ({rows})"
    ).to_arrow_table()


def _numbered(letters: pa.Table) -> pa.Table:
    partitions, offsets = split_places(letters.column("_offset"))
    for name, values in (("partition", partitions), ("offset", offsets)):
        letters = letters.set_column(letters.column_names.index(name), letters.schema.field(name), values)
    return letters
