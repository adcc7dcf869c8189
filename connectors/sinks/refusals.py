"""What a destination refuses for good becomes dead letters of stage `destination`, each once.

As in `connectors.sinks.rejects`, the table itself says by a `txn` action how far it has the refusals of a partition,
stream and destination, so what is sent and refused again after a crash is there already.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from connectors.sinks.dead_letters import NAME, SCHEMA, Fresh, Place, placed
from connectors.sinks.delta_table import TableWriter
from connectors.sinks.documents import EVENT_ID, payload_query
from connectors.sinks.lane import Refused
from connectors.sinks.settings import DeltaDestination
from connectors.telemetry import DEAD_LETTERS


class Refusals:
    """Keeps what `destination` refuses (implements `Undeliverable`). Called by one thread at a time."""

    def __init__(
        self,
        settings: DeltaDestination,
        log_identity: str,
        place: Place,
        config_version: str,
        destination: str,
        fresh: Fresh = lambda letters: letters,
    ) -> None:
        """`settings` are those of the table of dead letters; `fresh` says which letters it is to have."""
        self._settings = settings
        self._identity = log_identity
        self._place = place
        self._same = {"version": config_version, "destination": destination}
        self._destination = destination
        self._fresh = fresh
        self._writers: dict[str, TableWriter] = {}
        self._engine = duckdb.connect(config={"threads": 1})
        self._engine.execute("SET TimeZone = 'UTC'")

    def keep(self, partition: int, stream: str, refused: Sequence[Refused], next_offset: int) -> None:
        """See `Undeliverable.keep`."""
        letters = self._fresh(pa.concat_tables([self._letters(partition, stream, one) for one in refused]))
        letters = letters.sort_by("_offset")
        # A commit that failed may have happened: only a writer of its own finds out from the table.
        writer = self._writers.pop(stream, None) or TableWriter(
            self._settings, NAME, self._identity, SCHEMA, destination=NAME, origin=f"/{self._destination}/{stream}"
        )
        writer.stage(partition, letters, next_offset)
        if writer.rows:
            count = writer.rows
            writer.commit_surely(self._engine)
            DEAD_LETTERS.labels(stream, "destination").inc(count)
        self._writers[stream] = writer

    def _letters(self, partition: int, stream: str, refused: Refused) -> pa.Table:
        """Dead letters (`dead_letters.SCHEMA`) with `_offset` for the writer."""
        rows = refused.rows.append_column("_reason", pa.array(refused.reasons, pa.string()))
        has_id = EVENT_ID in rows.schema.names
        received_at = "received_at" if "received_at" in rows.schema.names else "NULL::TIMESTAMPTZ"
        event_id = EVENT_ID if has_id else "NULL::VARCHAR"
        index = f"TRY_CAST(string_split({EVENT_ID}, '-')[-1] AS BIGINT)" if has_id else "NULL::BIGINT"
        self._engine.register("refused", rows)
        try:
            letters = self._engine.sql(
                f"SELECT {event_id} AS event_id, $stream AS stream, 'destination' AS stage, NULL::VARCHAR AS step,"
                f" $destination AS destination, _reason AS error, $version AS config_version, NULL::VARCHAR AS topic,"
                f' $partition::BIGINT AS partition, _offset AS "offset", {index} AS index, payload,'
                f" {received_at} AS received_at, _offset"
                f" FROM ({payload_query(refused.rows.schema, 'refused')})",
                params=self._same | {"stream": stream, "partition": partition},
            ).to_arrow_table()
        finally:
            self._engine.unregister("refused")
        return placed(letters.cast(pa.schema([*SCHEMA, letters.schema.field("_offset")])), self._place)
