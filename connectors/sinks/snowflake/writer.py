"""All the tables of one Snowflake destination: when each is committed, over one session."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from connectors.errors import ConfigError
from connectors.sinks.base import Rejects, Rows
from connectors.sinks.delta import ROLLUP
from connectors.sinks.push import Undeliverable
from connectors.sinks.snowflake.columns import EVENT_COLUMNS
from connectors.sinks.snowflake.session import Session, as_transient, connector
from connectors.sinks.snowflake.settings import SnowflakeDestination
from connectors.sinks.snowflake.table import SnowflakeTable
from connectors.sinks.tables import TablesWriter


class SnowflakeWriter(TablesWriter[SnowflakeTable]):
    """Snowflake within one process (implements `Writer`).

    `rollups` are the tables whose rows are a rollup's. `schemas` says by stream what becomes of a field that has no column:
    with `reject` the event goes to `rejects`, else the field is in `_RESCUED`.
    """

    def __init__(
        self,
        settings: SnowflakeDestination,
        log_identity: str,
        undeliverable: Undeliverable,
        *,
        rollups: Collection[str] = (),
        schemas: Mapping[str, str] | None = None,
        rejects: Rejects | None = None,
        name: str = "dw",
        sign_in: Callable[[SnowflakeDestination], Session] = Session,
    ) -> None:
        """Raises ConfigError where Snowflake's connector is not installed."""
        connector()
        super().__init__(settings.commit_interval.total_seconds(), settings.commit_rows, settings.commit_bytes)
        self._settings = settings
        self._identity = log_identity
        self._undeliverable = undeliverable
        self._rollups = frozenset(rollups)
        self._schemas = schemas or {}
        self._rejects = rejects
        self._name = name
        self._sign_in = sign_in
        self._session: Session | None = None

    def stage(self, partition: int, rows: Sequence[Rows], next_offset: int) -> None:
        """See `Writer.stage`."""
        with _mendable():
            super().stage(partition, rows, next_offset)

    def commit(self, *, everything: bool) -> None:
        """See `TablesWriter.commit`."""
        with _mendable():
            super().commit(everything=everything)

    def reset(self) -> None:
        """See `Writer.reset`. The session goes too, and with it the transaction that may be open in it."""
        session, self._session = self._session, None
        if session is not None:
            session.close()
        super().reset()
        if self._rejects is not None:
            self._rejects.reset(self._name)

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
                rejects=self._rejects if self._schemas.get(stream) == "reject" else None,
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
