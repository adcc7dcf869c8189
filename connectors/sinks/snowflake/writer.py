"""All the tables of one Snowflake destination: when each is committed, over one session."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import duckdb

from connectors.errors import ConfigError
from connectors.sinks.base import Rows
from connectors.sinks.delta import ROLLUP
from connectors.sinks.push import Undeliverable
from connectors.sinks.snowflake.columns import EVENT_COLUMNS
from connectors.sinks.snowflake.session import Session, as_transient, connector
from connectors.sinks.snowflake.settings import SnowflakeDestination
from connectors.sinks.snowflake.table import SnowflakeTable


class SnowflakeWriter:
    """Snowflake within one process (implements `Writer`). `rollups` are the tables whose rows are a rollup's."""

    def __init__(
        self,
        settings: SnowflakeDestination,
        log_identity: str,
        undeliverable: Undeliverable,
        *,
        rollups: Collection[str] = (),
        name: str = "dw",
        sign_in: Callable[[SnowflakeDestination], Session] = Session,
    ) -> None:
        """Raises ConfigError where Snowflake's connector is not installed."""
        connector()
        self._settings = settings
        self._identity = log_identity
        self._undeliverable = undeliverable
        self._rollups = frozenset(rollups)
        self._name = name
        self._sign_in = sign_in
        self._session: Session | None = None
        self._tables: dict[str, SnowflakeTable] = {}
        self._handed_over: dict[int, int] = {}
        self._interval = settings.commit_interval.total_seconds()
        self._commit_seconds = 0.0
        self._engine = duckdb.connect(config={"threads": 1})
        self._engine.execute("SET TimeZone = 'UTC'")

    def stage(self, partition: int, rows: Sequence[Rows], next_offset: int) -> None:
        """See `Writer.stage`."""
        with _mendable():
            for part in rows:
                self._table(part.stream).stage(partition, part.table, next_offset)
        self._handed_over[partition] = next_offset

    def commit(self, *, everything: bool) -> None:
        """See `Writer.commit`. The oldest rows go first; the pace slows when commits take more than half of the time."""
        now = time.monotonic()
        waiting = sorted((table for table in self._tables.values() if table.rows), key=lambda table: table.since)
        pace = max(self._interval, 2 * self._commit_seconds * len(waiting))
        held = sum(table.bytes for table in waiting)
        for table in waiting:
            full = table.rows >= self._settings.commit_rows or held > self._settings.commit_bytes
            if everything or full or now - table.since >= pace:
                began = time.monotonic()
                held -= table.bytes
                with _mendable():
                    table.commit(self._engine)
                self._commit_seconds += (time.monotonic() - began - self._commit_seconds) / 8

    def reset(self) -> None:
        """See `Writer.reset`. The session goes too, and with it the transaction that may be open in it."""
        session, self._session = self._session, None
        if session is not None:
            session.close()
        for table in self._tables.values():
            table.reset()
        self._handed_over.clear()

    @property
    def held_bytes(self) -> int:
        """See `Writer.held_bytes`."""
        return sum(table.bytes for table in list(self._tables.values()))

    @property
    def capacity(self) -> int:
        """See `Writer.capacity`: past `commit_bytes` a commit is due."""
        return self._settings.commit_bytes

    def floor(self, partition: int) -> int | None:
        """See `Writer.floor`."""
        held = [first for table in self._tables.values() if (first := table.first_held(partition)) is not None]
        return min(held) if held else self._handed_over.get(partition)

    def _table(self, stream: str) -> SnowflakeTable:
        if stream not in self._tables:
            of_rollup = stream in self._rollups
            self._tables[stream] = SnowflakeTable(
                self._settings,
                stream,
                self._identity,
                ROLLUP if of_rollup else EVENT_COLUMNS,
                self._signed_in,
                self._undeliverable,
                grows=of_rollup,
                destination=self._name,
            )
        return self._tables[stream]

    def _signed_in(self) -> Session:
        if self._session is None:
            self._session = self._sign_in(self._settings)
        return self._session


@contextmanager
def _mendable() -> Iterator[None]:
    """What only a person can mend in Snowflake is a failure of this destination alone: the others go on."""
    try:
        yield
    except ConfigError as exc:
        raise as_transient(exc) from exc
