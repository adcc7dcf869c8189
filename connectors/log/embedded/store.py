"""The SQLite file under the embedded log: its tables, how it is opened, and what its errors mean.

One file, `<path>/log.db`, in WAL mode: appends and reads do not wait for each other, and with `synchronous=FULL` a
commit is on the disk when it returns. A record's row id is its partition and its offset in one integer, so one B-tree
holds every partition, each in offset order. WAL needs shared memory: the directory must be on a local disk.
"""

from __future__ import annotations

import random
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connectors.errors import ConfigError, Unavailable

TOPIC = "events"
PATIENCE = 5.0  # seconds that a writer waits for the others

_FILE = "log.db"
_APPLICATION = 0x68656164  # "head": tells a log from any other SQLite file
_VERSION = 3
_OFFSET_BITS = 48
_WAL_KEPT = 67_108_864  # bytes: what a WAL that once grew is cut back to

# `value` is last: a row's facts are read without following the pages that a large value spills to. `size` is what it comes
# to where it is compressed (`values.py`).
_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE partitions (partition INTEGER PRIMARY KEY, first INTEGER NOT NULL);
CREATE TABLE groups (
    name TEXT, partition INTEGER, next INTEGER NOT NULL, committed_at INTEGER NOT NULL, PRIMARY KEY (name, partition)
) WITHOUT ROWID;
CREATE TABLE records (
    position INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, count INTEGER NOT NULL, first_index INTEGER NOT NULL,
    stream TEXT NOT NULL, request_id TEXT NOT NULL, replay TEXT, size INTEGER, value BLOB NOT NULL
);
CREATE INDEX keyed ON records (position >> 48, received_at) WHERE substr(request_id, 15, 1) = '8';
"""

_MEANINGS = {
    sqlite3.SQLITE_FULL: ("the disk of the log is full", "free some room"),
    sqlite3.SQLITE_READONLY: ("the log cannot be written", "make its directory and its files writable"),
    sqlite3.SQLITE_CANTOPEN: ("the log cannot be opened", "make its directory exist and be writable"),
    sqlite3.SQLITE_PERM: ("the log cannot be opened", "make its files writable"),
    sqlite3.SQLITE_BUSY: ("other processes hold the log", "send it again in a moment"),
    sqlite3.SQLITE_CORRUPT: ("the log is damaged", "move its directory away, or restore it, and start again"),
    sqlite3.SQLITE_NOTADB: ("the log is not a SQLite file", "move its directory away, or restore it, and start again"),
    sqlite3.SQLITE_IOERR: ("the disk of the log failed", "look at the system's log"),
}


def row_id(partition: int, offset: int) -> int:
    """The row id of a record. Offsets of a partition are dense in it, and partitions do not overlap."""
    return partition << _OFFSET_BITS | offset


def offset_of(row: int) -> int:
    """The offset within its partition of the record in this row."""
    return row & ((1 << _OFFSET_BITS) - 1)


def file_of(directory: Path) -> Path:
    """The log's file."""
    return directory / _FILE


def identity_of(directory: Path) -> tuple[int, int] | None:
    """What tells this file from one put in its place (device and inode); None if it is not there."""
    try:
        status = file_of(directory).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def failures_named(directory: Path) -> Iterator[None]:
    """Turns what SQLite and the disk raise into an Unavailable that says what, where, and the remedy."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # a bug of ours
    except sqlite3.Error as exc:
        code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        what, remedy = _MEANINGS.get(code & 0xFF, ("the log failed", "look at the system's log"))
        name = getattr(exc, "sqlite_errorname", type(exc).__name__)
        raise Unavailable(f"{what}: {file_of(directory)} ({name}: {exc})", remedy=remedy) from exc
    except OSError as exc:
        raise Unavailable(
            f"the log cannot be opened: {exc.filename or directory} ({exc.strerror})",
            remedy="make its directory exist and be writable",
        ) from exc


def open_store(directory: Path, partitions: int, *, durable: bool) -> sqlite3.Connection:
    """A connection to the log in `directory`, which is made where missing, with at least `partitions` partitions.

    `durable` makes every commit wait for the disk. Raises ConfigError if the file is not a log that this version
    understands or has more partitions than asked for, Unavailable if it cannot be opened.
    """
    with failures_named(directory):
        directory.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            file_of(directory), timeout=PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=32
        )
        try:
            _prepare(connection, directory, partitions, durable=durable)
        except BaseException:
            connection.close()
            raise
        return connection


def begin(connection: sqlite3.Connection, *, patience: float = PATIENCE) -> None:
    """Takes the write lock, waiting at most `patience` seconds.

    SQLite's own waiting sleeps up to 100 ms between attempts, which starves a process beside a busy one.
    """
    deadline = time.monotonic() + patience
    pause = 0.000_2
    connection.execute("PRAGMA busy_timeout = 0")
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA busy_timeout = {PATIENCE * 1000:.0f}")
            return
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 -- jitter between processes, no secret
        pause = min(pause * 1.5, 0.005)


def roll_back(connection: sqlite3.Connection) -> None:
    """Ends a transaction that failed; some failures have ended it already."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def end_offsets(connection: sqlite3.Connection) -> list[int]:
    """For each partition, the offset that its next record gets: past the newest, and past all that were deleted."""
    return [
        max(first, first if newest is None else offset_of(newest) + 1)
        for first, newest in connection.execute(
            "SELECT first, (SELECT max(position) FROM records"
            " WHERE position >= partition << 48 AND position < (partition + 1) << 48)"
            " FROM partitions ORDER BY partition"
        )
    ]


def _prepare(connection: sqlite3.Connection, directory: Path, partitions: int, *, durable: bool) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:  # turning WAL on does not wait for another process that is doing the same
        try:
            connection.execute("PRAGMA page_size = 8192")
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.005)
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT}")
    if _facts(connection) == (_APPLICATION, _VERSION, partitions):
        return
    begin(connection, patience=PATIENCE)
    try:
        _make_or_grow(connection, directory, partitions)
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def _facts(connection: sqlite3.Connection) -> tuple[int, int, int]:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION or version != _VERSION:
        return application, version, 0
    return application, version, connection.execute("SELECT count(*) FROM partitions").fetchone()[0]


def _make_or_grow(connection: sqlite3.Connection, directory: Path, partitions: int) -> None:
    application, version, existing = _facts(connection)
    if application == _APPLICATION and 0 < version < _VERSION:
        if version == 1:  # made before events could be sent again
            connection.execute("ALTER TABLE records ADD COLUMN replay TEXT")
        connection.execute("ALTER TABLE records ADD COLUMN size INTEGER")  # made before values were compressed
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        application, version, existing = _facts(connection)
    if (application, version) == (0, 0) and not connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        for statement in _SCHEMA.split(";"):  # `executescript` would commit the transaction it is in
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        # Keyed requests stay spread over the partitions the log was made with: a repeat must follow its original.
        connection.execute("INSERT INTO about VALUES ('keyed_partitions', ?), ('checked_at', 0)", (partitions,))
        made = secrets.randbits(62)  # another log in the same place is another log
        connection.execute("INSERT INTO about VALUES ('identity', ?)", (made,))
    elif application != _APPLICATION:
        raise ConfigError(
            f"{file_of(directory)} is a SQLite file, but not a headrace log",
            remedy="name another directory in log.embedded.path",
        )
    elif version != _VERSION:
        raise ConfigError(
            f"the log {file_of(directory)} has format {version}, this headrace understands {_VERSION}",
            remedy="use the headrace that made it, or another directory in log.embedded.path",
        )
    elif partitions < existing:
        raise ConfigError(
            f"log.embedded.partitions is {partitions}, but the log {file_of(directory)} has {existing},"
            " and records would be left unread",
            remedy=f"set it to {existing} or more",
        )
    connection.executemany(
        "INSERT INTO partitions VALUES (?, 0)", [(partition,) for partition in range(existing, partitions)]
    )
