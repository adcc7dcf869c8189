"""One signed-in session of a Snowflake account, and what its errors mean.

The connector repeats a request that has no answer under the same request id, by which Snowflake knows it; what is still
without an answer after `timeout` may have happened or not, and whoever asked has to look.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from connectors.errors import ConfigError, HeadraceError, Transient
from connectors.sinks.snowflake.identifiers import qualified
from connectors.sinks.snowflake.settings import SnowflakeDestination

_REFUSED_PAUSE = 60.0
_CREDENTIALS_PAUSE = 300.0
"""Seconds until the next try where it signs in in vain: Snowflake locks a user out after five wrong passwords."""

_MISSING = frozenset({904, 2003, 2043, 3001, 90105, 90106})
"""Errors that a person has to mend: no such column, object, privilege, database or schema."""

_WAREHOUSE = frozenset({604, 606, 607, 608, 609, 610, 625, 630, 639, 90064, 90073, 200001})
"""Errors of another moment: no warehouse runs, a lock is held, a quota is used up, a statement was cancelled."""

_NOT_NULL = 100072
_LOCK_SECONDS = 60


class RowsRefused(HeadraceError):
    """Snowflake refuses to load a file for a value in it; the message repeats the value, so it is not for logs."""


class Session:
    """Signed in, with a stage of its own that ends with it. Used by one thread."""

    def __init__(self, settings: SnowflakeDestination) -> None:
        """Raises ConfigError, Transient."""
        self.where = f"Snowflake ({settings.account})"
        self._errors: Any = connector().errors
        self._connection = self._signed_in(settings)
        self._cursor = self._connection.cursor(_cursor_class())
        self.stage = "@" + qualified(*settings.place, f"HEADRACE_{uuid4().hex.upper()}")
        try:
            self.run(f"CREATE TEMPORARY STAGE {self.stage[1:]}", doing="making a temporary stage")
        except HeadraceError:
            self.close()
            raise

    def run(self, sql: str, parameters: Sequence[Any] = (), *, doing: str) -> list[tuple[Any, ...]]:
        """The rows of the statement's result. Raises ConfigError, Transient."""
        try:
            return self.load(sql, parameters, doing=doing)
        except RowsRefused as exc:
            raise Transient(f"{self.where}, {doing}: refused for a value") from exc

    def pages(self, sql: str, parameters: Sequence[Any], rows: int, *, doing: str) -> Iterator[list[tuple[Any, ...]]]:
        """As `run`, but so many rows at a time: all of them are never in memory."""
        with self._telling(doing):
            self._cursor.execute(sql, tuple(parameters))
        while True:
            with self._telling(doing):
                page = list(self._cursor.fetchmany(rows))
            if not page:
                return
            yield page

    def load(self, sql: str, parameters: Sequence[Any] = (), *, doing: str = "loading") -> list[tuple[Any, ...]]:
        """As `run`. Raises RowsRefused too, for a row that is loaded."""
        with self._telling(doing):
            return list(self._cursor.execute(sql, tuple(parameters) or None).fetchall())

    def put(self, file: memoryview | bytes, name: str) -> None:
        """Uploads a file into the stage."""
        statement = (
            f"PUT 'file://{name}' {self.stage} AUTO_COMPRESS=FALSE SOURCE_COMPRESSION=NONE OVERWRITE=TRUE PARALLEL=1"
        )
        with self._telling("staging rows"):
            done = self._cursor.execute(statement, file_stream=io.BytesIO(file)).fetchall()
        if [row[6] for row in done] != ["UPLOADED"]:
            raise Transient(f"{self.where} did not take a staged file")

    def close(self) -> None:
        """Ends the session, with what it has not committed."""
        with suppress(Exception):  # whatever becomes of it, nothing of it is used again
            self._connection.close(retry=False)

    def _telling(self, doing: str) -> _Telling:
        return _Telling(self.where, doing, self._errors)

    def _signed_in(self, settings: SnowflakeDestination) -> Any:
        seconds = max(1, math.ceil(settings.timeout.total_seconds()))
        given: dict[str, Any] = {
            "account": settings.account,
            "user": settings.user,
            "password": settings.password,
            "private_key_file": settings.private_key_file and str(settings.private_key_file),
            "private_key_file_pwd": settings.private_key_passphrase,
            "authenticator": settings.authenticator,
            "token": settings.token,
            "role": settings.role,
            "warehouse": settings.warehouse,
            "host": settings.host,
            "port": settings.port,
            "protocol": settings.protocol,
        }
        if settings.private_key_file is not None and settings.authenticator is None:
            given["authenticator"] = "SNOWFLAKE_JWT"
        database, schema = settings.place
        given = {name: str.__str__(v) if isinstance(v, str) else v for name, v in given.items() if v is not None}
        try:
            return connector().connect(
                **given,
                database=qualified(database),
                schema=qualified(schema),
                login_timeout=seconds,
                network_timeout=seconds,
                socket_timeout=seconds,
                application="headrace",
                client_session_keep_alive=False,
                validate_default_parameters=False,
                session_parameters={
                    "TIMEZONE": "UTC",
                    "QUERY_TAG": "headrace",
                    "LOCK_TIMEOUT": _LOCK_SECONDS,
                    "CLIENT_TELEMETRY_ENABLED": False,
                },
            )
        except Exception as exc:
            raise _meant_by_signing_in(self.where, exc, self._errors) from exc


class _Telling:
    """Turns what the connector raises into what it means for the rows."""

    def __init__(self, where: str, doing: str, errors: Any) -> None:
        self._where = where
        self._doing = doing
        self._errors = errors

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if exc is None or not isinstance(exc, Exception):
            return
        raise _meant(self._where, self._doing, exc, self._errors) from exc


def _cursor_class() -> Any:
    """The connector's cursor, but for its timer's thread: where an abort of what takes too long fails, it says nothing."""

    def cancel(cursor: Any, query: str) -> None:
        with suppress(Exception):
            base._SnowflakeCursorBase__cancel_query(cursor, query)

    base = connector().cursor.SnowflakeCursor
    return type("QuietCursor", (base,), {"_SnowflakeCursorBase__cancel_query": cancel})


def connector() -> Any:
    """Snowflake's own client, an optional dependency. Raises ConfigError where it is missing."""
    try:
        import snowflake.connector  # takes a second to import
    except ImportError as exc:
        raise ConfigError(
            "a destination of type snowflake needs Snowflake's connector, which is not installed",
            remedy="pip install 'headrace[snowflake]'",
        ) from exc
    logging.getLogger("snowflake").setLevel(
        logging.CRITICAL
    )  # it logs each failed request; what it means is logged here
    return snowflake.connector


def _meant(where: str, doing: str, exc: Exception, errors: Any) -> HeadraceError:
    number, state = getattr(exc, "errno", None), getattr(exc, "sqlstate", None) or ""
    if isinstance(exc, errors.ProgrammingError | errors.DataError | errors.IntegrityError):
        told = " ".join(str(getattr(exc, "raw_msg", None) or exc).split())
        if number == _NOT_NULL or (number is not None and 100_000 <= number < 101_000 and state[:2] in ("22", "23")):
            return RowsRefused(told[:300])
        if number in _MISSING:
            return ConfigError(f"{where}, {doing}: {told[:300]}", remedy="see database, schema, role and their grants")
        if number in _WAREHOUSE:
            return Transient(f"{where}, {doing}: {told[:300]}")
    return Transient(f"{where}, {doing}: {type(exc).__name__} {number if number and number > 0 else ''}".rstrip())


def _meant_by_signing_in(where: str, exc: Exception, errors: Any) -> HeadraceError:
    told = " ".join(str(getattr(exc, "raw_msg", None) or exc).split())[:300]
    if isinstance(exc, errors.DatabaseError) and not isinstance(exc, errors.OperationalError):
        return ConfigError(f"{where} refuses us: {told}", remedy="see user, its credentials, and account")
    if isinstance(exc, OSError | ValueError | TypeError) and not isinstance(exc, errors.Error | ConnectionError):
        return ConfigError(
            f"{where}: the credentials cannot be used: {type(exc).__name__}", remedy="see private_key_file"
        )
    if isinstance(exc, errors.ForbiddenError):
        return ConfigError(f"{where} does not know us: {told}", remedy="see account and host")
    return Transient(f"{where} cannot be reached: {type(exc).__name__}")


def as_transient(exc: ConfigError) -> Transient:
    """What only a person can mend, as a failure that is tried again later: the other destinations go on meanwhile."""
    pause = _CREDENTIALS_PAUSE if "refuses us" in exc.what else _REFUSED_PAUSE
    return Transient(exc.what, remedy=exc.remedy, retry_after=pause)
