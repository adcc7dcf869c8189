"""Rows as a table of typed columns takes them: the table grows with them, and what does not fit is kept or refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from connectors.sinks.base import Rejects
from connectors.sinks.conform import RESCUED, conformed
from connectors.sinks.evolve import evolve, for_tables, without_empty_structs
from connectors.sinks.settle import settle_json
from connectors.telemetry import ROWS_COMMITTED, VALUES_RESCUED

OFFSET = "_offset"
PARTITION = "_partition"
REASON = "_reason"

Unwritable = Callable[[pa.Table], pa.ChunkedArray | None]
"""Why each of a table's rows cannot be written to it, a sentence or null; None where all can."""


class Fitting:
    """The ways of one table: `mode` is its stream's `schema` (`evolve`, `rescue`, `reject`).

    Rows come with the columns `_offset` and `_partition` of the log. What `reject` refuses goes to `rejects`; `part`
    names a part of the table that keeps offsets of its own.
    """

    def __init__(self, stream: str, destination: str, mode: str, rejects: Rejects | None) -> None:
        self._stream = stream
        self._destination = destination
        self._mode = mode
        self._rejects = rejects

    def grown(
        self, schema: pa.Schema, batches: Sequence[pa.Table], engine: duckdb.DuckDBPyConnection, *, new: bool
    ) -> pa.Schema:
        """The table's schema once it takes the batches; unchanged unless the table is `new` or may evolve."""
        if new or self._mode == "evolve":
            for batch in batches:
                schema = evolve(schema, for_tables(settle_json(batch, schema, engine)))
            schema = without_empty_structs(schema)
        return schema

    def rows(
        self,
        batches: Sequence[pa.Table],
        schema: pa.Schema,
        offsets: Mapping[int, int],
        engine: duckdb.DuckDBPyConnection,
        *,
        part: str = "",
        unwritable: Unwritable | None = None,
    ) -> pa.Table:
        """The batches as rows of `schema`, without those that are rejected: these are safe elsewhere by then.

        `offsets` are the next offsets wanted once the rows are committed. What is `unwritable` is rejected whatever the
        mode. Raises Fenced, Transient.
        """
        conforming, fits = self.judged(batches, schema, offsets, engine, part=part, unwritable=unwritable)
        if fits is not None:
            conforming = [rows.filter(which) for rows, which in zip(conforming, fits, strict=True)]
        return pa.concat_tables(conforming)

    def judged(
        self,
        batches: Sequence[pa.Table],
        schema: pa.Schema,
        offsets: Mapping[int, int],
        engine: duckdb.DuckDBPyConnection,
        *,
        part: str = "",
        unwritable: Unwritable | None = None,
    ) -> tuple[list[pa.Table], list[pa.ChunkedArray] | None]:
        """As `rows`, batch by batch: all the rows, and which of them fit; None where all do."""
        conforming = [conformed(batch, schema, engine) for batch in batches]
        reasons = [unwritable(rows) if unwritable else None for rows in conforming]
        strict = self._mode == "reject"
        if self._rejects is None or not (strict or any(why is not None for why in reasons)):
            return conforming, None
        whys = [
            pa.nulls(len(rows), pa.string()) if why is None else why
            for rows, why in zip(conforming, reasons, strict=True)
        ]
        unfit = [
            pc.or_(pc.is_valid(rows.column(RESCUED)), pc.is_valid(why)) if strict else pc.is_valid(why)
            for rows, why in zip(conforming, whys, strict=True)
        ]
        # All of them at once: each time is a commit to the dead letters.
        rejected = pa.concat_tables([rows.filter(which) for rows, which in zip(conforming, unfit, strict=True)])
        if not rejected.num_rows:
            return conforming, None
        origin = pa.concat_tables(
            [
                batch.select([PARTITION, OFFSET]).append_column(REASON, why).filter(which)
                for batch, why, which in zip(batches, whys, unfit, strict=True)
            ]
        )
        self._rejects.reject(rejected, origin, self._stream, self._destination, offsets, engine, part=part)
        return conforming, [pc.invert(which) for which in unfit]

    def count(self, rows: pa.Table) -> None:
        """Counts rows that are committed."""
        ROWS_COMMITTED.labels(self._destination, self._stream).inc(rows.num_rows)
        if RESCUED in rows.column_names:
            rescued = rows.num_rows - rows.column(RESCUED).null_count
            if rescued:
                VALUES_RESCUED.labels(self._destination, self._stream).inc(rescued)


def by_schema(staged: Sequence[pa.Table]) -> list[pa.Table]:
    """The tables, those of one schema as one, in order."""
    groups: dict[bytes, list[pa.Table]] = {}
    for table in staged:
        groups.setdefault(table.schema.serialize().to_pybytes(), []).append(table)
    return [pa.concat_tables(tables) for tables in groups.values()]
