"""One table in Snowflake: rows staged, then loaded together with the offsets they came from.

What is loaded is what the offsets say, and nothing else is believed: not an answer that did not come, and not one that
did. After each commit they are read back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from connectors.errors import Fenced, Transient
from connectors.sinks.base import Rejects
from connectors.sinks.fitted import PARTITION, Fitting, by_schema
from connectors.sinks.lane import Refused
from connectors.sinks.push import Undeliverable
from connectors.sinks.snowflake.columns import (
    arrow_schema,
    column_list,
    copy_statement,
    encoded,
    flattened,
    sql_type,
)
from connectors.sinks.snowflake.identifiers import qualified
from connectors.sinks.snowflake.offsets import Offsets
from connectors.sinks.snowflake.session import RowsRefused, Session
from connectors.sinks.snowflake.settings import SnowflakeDestination
from connectors.sinks.staged import StagedRows
from connectors.telemetry import ROWS_REFUSED

_REJECTED = "schema"
"""Tells the letters of what the schema rejects from those of what Snowflake refuses of the same table and offsets."""


class SnowflakeTable(StagedRows):
    """The table of one stream.

    `grows`: new columns are added, as a rollup's are not known before its rows. What has no column is in `_RESCUED`; with
    `rejects` it goes there, the whole row. `session` gives the session to use.
    """

    def __init__(
        self,
        settings: SnowflakeDestination,
        stream: str,
        identity: str,
        base: pa.Schema,
        session: Callable[[], Session],
        undeliverable: Undeliverable,
        *,
        grows: bool = False,
        rejects: Rejects | None = None,
        destination: str = "dw",
    ) -> None:
        super().__init__()
        self._stream = stream
        self._destination = destination
        name = settings.table_of(stream)
        self._table = qualified(*settings.place, name)
        self._offsets = Offsets(settings, identity, name)
        self._base = base
        self._schema = base
        self._grows = grows
        self._session = session
        self._undeliverable = undeliverable
        mode = "evolve" if grows else "rescue" if rejects is None else "reject"
        self._fitting = Fitting(stream, destination, mode, rejects)
        self._there = False
        self._noted: frozenset[int] = frozenset()  # partitions that have a row in the table of offsets

    def stage(self, partition: int, rows: pa.Table, next_offset: int) -> None:
        """Takes rows in offset order, except those below what the table has of the partition."""
        self._take(partition, rows, next_offset, self.committed(partition))

    def committed(self, partition: int) -> int:
        """The next offset of the partition that the table wants. Raises Transient, ConfigError."""
        self._make()
        return self._committed.setdefault(partition, 0)

    def reset(self) -> None:
        """Forgets what is staged, and what the table has: it is asked again."""
        self._there = False
        self._committed = {}
        self._let_go()

    def commit(self, engine: duckdb.DuckDBPyConnection) -> None:
        """Loads what is staged, all partitions together. Raises Fenced, Transient, ConfigError."""
        batches, rows = self._fitted(by_schema(self._staged), engine)
        try:
            self._load(encoded(rows, engine), rows.num_rows)
        except RowsRefused:
            refused = self._refused(rows, engine)
            self._keep(refused, batches)
            kept = rows.filter(pa.array([place not in refused for place in range(rows.num_rows)]))
            try:
                self._load(encoded(kept, engine), kept.num_rows)
            except RowsRefused as exc:  # the table was changed meanwhile
                raise Transient(f"{self._table} takes no rows that it took a moment ago") from exc
            rows = kept
        self._fitting.count(rows)
        self._took()

    def _fitted(
        self, batches: Sequence[pa.Table], engine: duckdb.DuckDBPyConnection
    ) -> tuple[Sequence[pa.Table], pa.Table]:
        """(the batches without what is rejected, their rows in the table's columns). A rollup's new columns are added."""
        flat = [flattened(batch, self._schema, engine) for batch in batches]
        if self._grows:
            grown = self._fitting.grown(self._schema, flat, engine, new=False)
            added = [field for field in grown if field.name not in self._schema.names]
            for field in added:
                self._session().run(
                    f"ALTER TABLE {self._table} ADD COLUMN IF NOT EXISTS {column_list(pa.schema([field]))}",
                    doing=f"adding a column of type {sql_type(field.type)}",
                )
            if added:
                self._schema = self._described()
                flat = [flattened(batch, self._schema, engine) for batch in batches]
        rows, fits = self._fitting.judged(flat, self._schema, self._next, engine, part=_REJECTED)
        if fits is None:
            return batches, pa.concat_tables(rows)
        fitting = [batch.filter(which) for batch, which in zip(batches, fits, strict=True)]
        return fitting, pa.concat_tables([part.filter(which) for part, which in zip(rows, fits, strict=True)])

    def _load(self, file: memoryview, count: int) -> None:
        """Loads a file and moves the offsets on, both or neither. Raises RowsRefused where a row of it is refused."""
        session = self._session()
        if not self._next.keys() <= self._noted:
            self._offsets.note(session, self._next.keys() - self._noted)
            self._noted |= self._next.keys()
        name = self._put(session, file) if count else ""
        session.run("BEGIN TRANSACTION", doing="loading")
        try:
            if count:
                self._copy(session, name, count)
            moved = self._offsets.advance(session, self._committed, self._next)
        except RowsRefused:
            session.run("ROLLBACK", doing="undoing a load")
            raise
        if moved:
            session.run("COMMIT", doing="committing")
        else:
            session.run("ROLLBACK", doing="undoing a load")
        there = self._offsets.read(session)
        found = {partition: there.get(partition, 0) for partition in self._next}
        if moved and found == self._next:
            return
        if found == {partition: self._committed[partition] for partition in self._next}:
            raise Transient(f"{session.where} did not commit a load into {self._table}")
        raise Fenced(
            f"{self._table}: another dataflow has committed up to offset {max(found.values())}",
            remedy="stop the other `headrace run`; only one may write a log's tables",
        )

    def _put(self, session: Session, file: memoryview) -> str:
        """Stages a file under a name that no load has had; its place."""
        name = f"{uuid4().hex}.parquet"
        session.put(file, name)
        return f"{session.stage}/{name}"

    def _copy(self, session: Session, file: str, count: int) -> None:
        done = session.load(copy_statement(self._table, self._schema, file))
        if len(done) != 1 or len(done[0]) < 4 or done[0][1] != "LOADED" or int(done[0][3]) != count:
            raise Transient(f"{session.where} did not load all of a staged file into {self._table}")

    def _refused(self, rows: pa.Table, engine: duckdb.DuckDBPyConnection) -> dict[int, str]:
        """The places of the rows that Snowflake will not load, and why: found by loading halves, each undone."""
        refused: dict[int, str] = {}
        session = self._session()
        parts = [(0, rows.num_rows)]
        while parts:
            start, stop = parts.pop()
            file = self._put(session, encoded(rows.slice(start, stop - start), engine))
            session.run("BEGIN TRANSACTION", doing="trying a load")
            try:
                self._copy(session, file, stop - start)
            except RowsRefused as exc:
                if stop - start == 1:
                    refused[start] = exc.what
                else:
                    middle = (start + stop) // 2
                    parts += [(middle, stop), (start, middle)]
            session.run("ROLLBACK", doing="undoing a load")
        return refused

    def _keep(self, refused: Mapping[int, str], batches: Sequence[pa.Table]) -> None:
        """Makes the refused rows dead letters: safe before the offsets pass them."""
        for partition, end in sorted(self._next.items()):
            letters, first = [], 0
            for batch in batches:
                places = [place for place in sorted(refused) if first <= place < first + batch.num_rows]
                taken = batch.take(pa.array([place - first for place in places], pa.int64()))
                mine = pc.equal(taken[PARTITION], partition).to_pylist()
                reasons = tuple(refused[place] for place, is_mine in zip(places, mine, strict=True) if is_mine)
                if reasons:
                    letters.append(Refused(taken.filter(pa.array(mine)).drop_columns([PARTITION]), reasons))
                first += batch.num_rows
            if letters:
                self._undeliverable.keep(partition, self._stream, letters, end)
        ROWS_REFUSED.labels(self._destination, self._stream).inc(len(refused))

    def _make(self) -> None:
        """Creates what is missing of the tables, and reads how far the table has the log."""
        if self._there:
            return
        self._offsets.create(self._session())
        self._session().run(
            f"CREATE TABLE IF NOT EXISTS {self._table} ({column_list(self._base)})", doing=f"making {self._table}"
        )
        if self._grows:
            self._schema = self._described()
        self._committed = self._offsets.read(self._session())
        self._noted = frozenset(self._committed)
        self._there = True

    def _described(self) -> pa.Schema:
        rows = self._session().run(f"DESCRIBE TABLE {self._table}", doing=f"reading the columns of {self._table}")
        return arrow_schema([(str(row[0]), str(row[1])) for row in rows], self._base)
