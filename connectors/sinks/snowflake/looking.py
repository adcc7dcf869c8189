"""What a table in Snowflake has already: up to which offsets, and which events."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TypeVar

import pyarrow as pa

from connectors.columns import quoted
from connectors.errors import HeadraceError
from connectors.sinks.snowflake.identifiers import qualified, resolved
from connectors.sinks.snowflake.offsets import Offsets
from connectors.sinks.snowflake.session import Session
from connectors.sinks.snowflake.settings import SnowflakeDestination

_PAGE = 50_000  # ids in memory at once
_NAMED = 1_000  # ids that one statement names

Found = TypeVar("Found")


class Looking:
    """Looks into the tables of one destination, over a session of its own. Threads may share it.

    Its methods raise ConfigError, Transient.
    """

    def __init__(
        self, settings: SnowflakeDestination, sign_in: Callable[[SnowflakeDestination], Session] = Session
    ) -> None:
        """Signs in when it is first asked something."""
        self._settings = settings
        self._sign_in = sign_in
        self._session: Session | None = None
        self._lock = threading.Lock()

    def has_table(self, stream: str) -> bool:
        """Whether the table of a stream (or a rollup) is there."""
        return self._asking(lambda session: self._has(session, self._settings.table_of(stream)))

    def offsets(self, log: str, stream: str) -> dict[int, int]:
        """By partition, the next offset of a log (its identity) that the table of a stream wants."""

        def ask(session: Session) -> dict[int, int]:
            if not self._has(session, resolved(self._settings.offsets_table)):
                return {}
            return Offsets(self._settings, log, self._settings.table_of(stream)).read(session)

        return self._asking(ask)

    def among(self, ids: pa.ChunkedArray, stream: str, time: str, low: datetime | None, high: datetime) -> pa.Array:
        """Those of the event ids that a row of the stream's table has whose `time` lies between `low` and `high`.

        Without a `low` the table is asked for the ids themselves, so that not all of it is read.
        """
        table, column = qualified(*self._settings.place, self._settings.table_of(stream)), quoted(time.upper())
        mine = set(ids.to_pylist())
        select = f'SELECT DISTINCT "EVENT_ID" FROM {table} WHERE {column} <= %s::TIMESTAMP_TZ'

        def between(session: Session, low: datetime) -> Iterator[list[tuple[str]]]:
            bounds = (high.isoformat(), low.isoformat())
            return session.pages(
                f"{select} AND {column} >= %s::TIMESTAMP_TZ", bounds, _PAGE, doing="looking for events"
            )

        def named(session: Session) -> Iterator[list[tuple[str]]]:
            wanted = sorted(mine)
            for start in range(0, len(wanted), _NAMED):
                some = wanted[start : start + _NAMED]
                statement = f'{select} AND "EVENT_ID" IN ({", ".join(["%s"] * len(some))})'
                yield from session.pages(statement, (high.isoformat(), *some), _PAGE, doing="looking for events")

        def ask(session: Session) -> pa.Array:
            pages = named(session) if low is None else between(session, low)
            return pa.array(sorted({one for page in pages for (one,) in page} & mine), pa.string())

        return self._asking(ask)

    def close(self) -> None:
        """Ends the session."""
        with self._lock:
            self._end()

    def _asking(self, ask: Callable[[Session], Found]) -> Found:
        with self._lock:
            try:
                self._session = self._session or self._sign_in(self._settings)
                return ask(self._session)
            except HeadraceError:
                self._end()
                raise

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _has(self, session: Session, table: str) -> bool:
        database, schema = self._settings.place
        found = session.run(
            f"SELECT count(*) FROM {qualified(database)}.INFORMATION_SCHEMA.TABLES"
            " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
            (schema, table),
            doing="looking for a table",
        )
        return bool(found[0][0])
