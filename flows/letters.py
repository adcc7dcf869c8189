"""Events that become dead letters within a pipeline: what is kept of them, as `connectors.sinks.dead_letters` takes it."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from flows.columns import EVENT_ID, OFFSET, Columns, column, literal
from flows.output import rows_query


def set_aside(engine: duckdb.DuckDBPyConnection, events: str, columns: Columns, step: str, error: str) -> pa.Table:
    """`event_id, step, error, index, payload, _offset` of the events of the query `events`, whose columns are `columns`.

    The payload is the event as it is there: what must not be seen has to be masked before.
    """
    rows, _ = rows_query(columns, events)
    names = [item[0] for item in engine.execute(f"SELECT * FROM ({rows}) LIMIT 0").description]
    parts = [name for name in ("timestamp", "source", "event", "metadata") if name in names]
    event = f"to_json(struct_pack({', '.join(f'{name} := {name}' for name in parts)}))"
    rescued = "CASE WHEN _extra IS NOT NULL THEN json('{\"_rescued\":{' || _extra || '}}') ELSE '{}'::JSON END"
    return engine.sql(
        f"SELECT {column(EVENT_ID)}, {literal(step)} AS step, {literal(error)} AS error,"
        f" string_split({column(EVENT_ID)}, '-')[-1]::BIGINT AS index,"
        f" json_merge_patch('{{}}', {event}, {rescued})::VARCHAR AS payload, {column(OFFSET)} FROM ({rows})"
    ).to_arrow_table()
