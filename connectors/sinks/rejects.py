"""What a table with a strict schema rejects, and what a table cannot take, becomes dead letters, committed before the rows
it was taken out of.

Where that second commit does not happen the rows come again, and not always to the same end: with fewer rows a new table
gets fewer columns, and a configuration may have changed. So a letter of what the first commit had passed is looked for
among those that are there, and made where it is not.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from connectors.columns import literal
from connectors.errors import Transient
from connectors.sinks.dead_letters import NAME, SCHEMA, Fresh, Place, placed
from connectors.sinks.delta_table import TableWriter
from connectors.sinks.letter_table import letters_where
from connectors.sinks.settings import DeltaDestination
from connectors.telemetry import DEAD_LETTERS


class DeadLetters:
    """Takes what the tables of a process reject (implements `Rejects`): one at a time, whichever thread it comes from.

    A destination's rows and its `reset` come from one thread.
    """

    def __init__(
        self,
        settings: DeltaDestination,
        log_identity: str,
        place: Place,
        config_version: str,
        fresh: Fresh = lambda letters: letters,
    ) -> None:
        self._settings = settings
        self._identity = log_identity
        self._place = place
        self._config_version = config_version
        self._fresh = fresh
        self._writers: dict[tuple[str, str, str], TableWriter] = {}
        self._lock = threading.Lock()

    def reject(
        self,
        rows: pa.Table,
        origin: pa.Table,
        stream: str,
        destination: str,
        offsets: Mapping[int, int],
        engine: duckdb.DuckDBPyConnection,
        *,
        part: str = "",
    ) -> None:
        """Commits `rows` (a stream's table) as dead letters of stage `schema`.

        `origin` has their `_partition` and `_offset`, and their `_reason` where it is another than that they do not fit
        the columns; `offsets` are the next offsets wanted once the table they were taken out of is committed; `part` names
        a part of it that is committed on its own. Raises Fenced, Transient.
        """
        letters = self._fresh(self._letters(rows, origin, stream, destination, engine))
        with self._lock:
            writer = self._writers.get((destination, stream, part))
            if writer is None:
                of = f"/{destination}/{stream}{part and '/' + part}"
                writer = self._writers[destination, stream, part] = _Rejected(
                    self._settings, NAME, self._identity, SCHEMA, destination=NAME, origin=of
                )
            for partition in sorted(set(letters["partition"].to_pylist())):
                of_partition = letters.filter(pc.equal(letters["partition"], partition))
                writer.stage(partition, placed(of_partition, self._place), offsets[partition])
            if writer.rows:
                count = writer.rows
                writer.commit_surely(engine)
                DEAD_LETTERS.labels(stream, "schema").inc(count)

    def reset(self, destination: str) -> None:
        """See `Rejects.reset`."""
        with self._lock:
            for (name, *_), writer in self._writers.items():
                if name == destination:
                    writer.reset()

    def _letters(
        self, rows: pa.Table, origin: pa.Table, stream: str, destination: str, engine: duckdb.DuckDBPyConnection
    ) -> pa.Table:
        engine.register(
            "rejected",
            rows.append_column("_partition", origin["_partition"])
            .append_column("_offset", origin["_offset"])
            .append_column("_reason", origin["_reason"]),
        )
        json = [field.name for field in rows.schema if pa.types.is_large_string(field.type)]  # a VARIANT's, as text
        event = ", ".join(
            f"'{name}': {f'{name}::JSON' if name in json else name}"
            for name in ("timestamp", "source", "event", "metadata")
            if name in rows.column_names
        )
        letters = engine.sql(
            f"SELECT event_id, $stream AS stream, 'schema' AS stage, NULL::VARCHAR AS step, $destination AS destination,"
            f" coalesce(_reason, 'does not fit the table''s columns: ' || array_to_string(json_keys(_rescued), ', '))"
            f" AS error,"
            f' $version AS config_version, NULL::VARCHAR AS topic, _partition AS partition, _offset AS "offset",'
            f" string_split(event_id, '-')[-1]::BIGINT AS index,"
            f" json_merge_patch(to_json({{{event}}}), json_object('_rescued', json(_rescued)))::VARCHAR AS payload,"
            f" received_at, _offset FROM rejected ORDER BY _partition, _offset",
            params={"stream": stream, "destination": destination, "version": self._config_version},
        ).to_arrow_table()
        engine.unregister("rejected")
        return letters


class _Rejected(TableWriter):
    """The letters of what one table rejects."""

    def stage(self, partition: int, rows: pa.Table, next_offset: int) -> None:
        """Takes letters in offset order, except those that are there."""
        committed = self.committed(partition)
        if rows.num_rows and rows["_offset"][0].as_py() < committed:
            rows = self._new(rows)
        self._take(partition, rows, max(next_offset, committed), 0)

    def _new(self, letters: pa.Table) -> pa.Table:
        low, high = pc.min_max(letters["_offset"]).as_py().values()
        same = letters.slice(0, 1).select(["stream", "destination", "stage", "topic", "partition"]).to_pylist()[0]
        where = [f'"{name}" = {value if name == "partition" else literal(value)}' for name, value in same.items()]
        try:
            table = DeltaTable(self._uri, storage_options=self._options)
        except (DeltaError, OSError) as exc:
            raise Transient(f"reading {self._uri}: {exc}") from exc
        found = letters_where(table, ["event_id"], " AND ".join([*where, f'"offset" >= {low}', f'"offset" <= {high}']))
        there = found["event_id"].cast(pa.string())
        return letters.filter(pc.invert(pc.is_in(letters["event_id"], value_set=there)))
