"""What one stream with a memory has on disk: where it is in the log, its steps' state, and the rows that came out.

One SQLite file a stream, `<data>/state/<log>/streams/<stream>.db`. A *round* is one transaction of all three, so after a
crash they are of one moment. The rows wait in the outbox, numbered by round, until every destination has them: to the
destinations it is a log of one partition (`lane`) whose offsets are rounds. The lane's number is drawn when the file is
made: a file made anew can never be mistaken for the one before it.
"""

from __future__ import annotations

import pickle
import secrets
import sqlite3
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from connectors.errors import HeadraceError
from connectors.sinks.base import Rows
from flows.kept import Kept
from flows.recovery import state_of_log
from flows.stateful.operator import Changes

_VERSION = 1
_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE positions (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE handover (partition INTEGER PRIMARY KEY, until INTEGER NOT NULL);
CREATE TABLE floors (destination TEXT PRIMARY KEY, round INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE steps (step TEXT PRIMARY KEY, definition BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE pieces (step TEXT, name TEXT, data BLOB NOT NULL, PRIMARY KEY (step, name));
CREATE TABLE outbox (round INTEGER, place INTEGER, destination TEXT, stream TEXT, data BLOB, PRIMARY KEY (round, place));
"""
_LATER = (  # a store of a version before these has none
    "CREATE TABLE IF NOT EXISTS overlap (partition INTEGER PRIMARY KEY, begin INTEGER NOT NULL, until INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS kept (data BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS others (partition INTEGER, begin INTEGER, until INTEGER, PRIMARY KEY (partition, begin))",
)
_PATIENCE = 30.0  # seconds that another process's transaction is waited for
_LANES = 1 << 32
"""Lanes begin above every partition number of a log."""

Round = dict[str, list[Rows]]
"""What one round gave each destination."""


def store_file(data: Path, log_identity: str, stream: str) -> Path:
    """Where the store of a stream lies in a data directory."""
    return state_of_log(data, log_identity) / "streams" / f"{stream}.db"


class Store:
    """The store in `file`, which is made where it is missing. Belongs to one thread of the one process that owns it."""

    def __init__(
        self, file: Path, begin: Mapping[int, int] | None = None, ends: Mapping[int, int] | None = None
    ) -> None:
        """`begin` is where a new store starts to read, by partition; what lies from there up to `ends` may be in tables.

        HeadraceError where the file is no store.
        """
        self._file = file
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._db = _connected(file)
            self._make(begin or {}, ends or {})
            about = dict(self._db.execute("SELECT name, value FROM about"))
            (last,) = self._db.execute("SELECT max(round) FROM outbox").fetchone()
        except (sqlite3.Error, OSError) as exc:
            raise HeadraceError(
                f"the state {file} cannot be read: {exc}",
                remedy="restore it; without it the stream's windows begin anew and events may come twice",
            ) from exc
        self.lane: int = about["lane"]
        self.round: int = max(about["round"], last or 0)

    def _make(self, begin: Mapping[int, int], ends: Mapping[int, int]) -> None:
        """Several processes may be at it: the first wins."""
        self._db.execute("BEGIN IMMEDIATE")
        made = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        for statement in _LATER:
            self._db.execute(statement)
        if made:
            self._db.execute("COMMIT")
            return
        for statement in filter(str.strip, _SCHEMA.split(";")):
            self._db.execute(statement)
        lane = _LANES + secrets.randbits(40)
        facts = [("version", _VERSION), ("lane", lane), ("round", 0)]
        self._db.executemany("INSERT INTO about VALUES (?, ?)", facts)
        self._db.executemany("INSERT INTO positions VALUES (?, ?)", list(begin.items()))
        self._overlap_from(begin, ends)
        self._db.execute("COMMIT")

    def _overlap_from(self, begin: Mapping[int, int], ends: Mapping[int, int]) -> None:
        ranges = [(p, begin.get(p, 0), end) for p, end in ends.items() if begin.get(p, 0) < end]
        self._db.execute("DELETE FROM overlap")
        self._db.executemany("INSERT INTO overlap VALUES (?, ?, ?)", ranges)

    @property
    def positions(self) -> dict[int, int]:
        """The next offset to read, by partition of the log; none for one that was never read."""
        return dict(self._db.execute("SELECT partition, next FROM positions"))

    @property
    def overlap(self) -> dict[int, tuple[int, int]]:
        """By partition, from where up to where the log's events may be in tables from before there was a lane."""
        return {
            p: (begin, until) for p, begin, until in self._db.execute("SELECT partition, begin, until FROM overlap")
        }

    def may_hand_over(self) -> bool:
        """Whether no row of the `overlap` is still to go to a table, which can tell only until it is read elsewhere again."""
        read = self.positions
        read_past = all(read.get(p, 0) >= until for p, (_, until) in self.overlap.items())
        return not self.overlap or (read_past and not self.steps() and self.first_round() > self.round)

    @property
    def handover(self) -> dict[int, int] | None:
        """Where the stream's events become the log partitions' own again, its last step with a memory being gone.

        None while it has one. What lies below and has not been read is still to be read here.
        """
        if not self._db.execute("SELECT value FROM about WHERE name = 'handed_over'").fetchone():
            return None
        return dict(self._db.execute("SELECT partition, until FROM handover"))

    def hand_over(self, others: Mapping[int, int]) -> None:
        """The stream has no memory any more. `others` is where the partitions are read from without it; the first call counts."""
        self._db.execute("BEGIN IMMEDIATE")
        if self.handover is None:
            read = self.positions
            until = [(p, max(read.get(p, 0), others.get(p, 0))) for p in {*read, *others}]
            self._db.execute("INSERT INTO about VALUES ('handed_over', 1)")
            self._db.executemany("INSERT INTO handover VALUES (?, ?)", until)
        self._db.execute("COMMIT")

    def take_back(self, others: Mapping[int, int], ends: Mapping[int, int]) -> None:
        """The stream has a memory again: it is read here from where the others, who may have read it since, have come to.

        What had to be read here before that is still read. What lies from `others` up to `ends` may be in tables.
        """
        self._db.execute("BEGIN IMMEDIATE")
        until, read = self.handover, self.positions
        if until is not None:
            begin = {p: max(until.get(p, 0), others.get(p, 0)) for p in {*until, *others}}
            left = {p for p, end in until.items() if read.get(p, 0) < end}
            theirs = [(p, until[p], begin[p]) for p in left]
            self._db.executemany("INSERT OR REPLACE INTO others VALUES (?, ?, ?)", theirs)
            onward = [(p, at) for p, at in begin.items() if p not in left]
            self._db.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?)", onward)
            self._overlap_from(begin, ends)
            self._db.execute("DELETE FROM handover")
            self._db.execute("DELETE FROM about WHERE name IN ('handed_over', 'finished')")
        self._db.execute("COMMIT")

    @property
    def others(self) -> list[tuple[int, int, int]]:
        """(partition, first offset, offset past the last) of what was read elsewhere while the stream had no memory."""
        return self._db.execute("SELECT partition, begin, until FROM others").fetchall()

    def finish(self) -> None:
        """All has been read up to the handover, and what was held has gone on."""
        self._db.execute("INSERT OR REPLACE INTO about VALUES ('finished', 1)")

    @property
    def is_done(self) -> bool:
        """Whether it is finished, and every destination has what came of it."""
        finished = self._db.execute("SELECT value FROM about WHERE name = 'finished'").fetchone()
        return finished is not None and self.first_round() > self.round

    @property
    def kept(self) -> Kept | None:
        """The stream, as the configuration had it that last named it; None in a store of a version before this."""
        found = self._db.execute("SELECT data FROM kept").fetchone()
        try:
            kept = None if found is None else pickle.loads(found[0])  # noqa: S301 -- ours, in the state directory
        except Exception:  # noqa: BLE001 -- of another version of headrace
            return None
        return kept if isinstance(kept, Kept) else None

    def keep(self, kept: Kept) -> None:
        """Remembers the stream."""
        if kept != self.kept:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM kept")
            self._db.execute("INSERT INTO kept VALUES (?)", (pickle.dumps(kept),))
            self._db.execute("COMMIT")

    def steps(self) -> dict[str, bytes]:
        """The definition of each step that has state here."""
        return dict(self._db.execute("SELECT step, definition FROM steps"))

    def pieces(self, step: str) -> dict[str, pa.Table]:
        """The state of a step."""
        rows = self._db.execute("SELECT name, data FROM pieces WHERE step = ?", (step,))
        return {name: table_from(data) for name, data in rows}

    def commit(
        self,
        positions: Mapping[int, int],
        definitions: Mapping[str, bytes],
        changes: Mapping[str, Changes],
        rows: Mapping[str, Sequence[Rows]],
        gone: Sequence[str] = (),
    ) -> int:
        """One round, all of it or nothing; its number. `gone` are steps that have no state any more.

        Raises sqlite3.Error and OSError (a full disk), and then nothing has happened.
        """
        number = self.round + 1
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?)", list(positions.items()))
            for step in gone:
                self._db.execute("DELETE FROM steps WHERE step = ?", (step,))
                self._db.execute("DELETE FROM pieces WHERE step = ?", (step,))
            self._db.executemany("INSERT OR REPLACE INTO steps VALUES (?, ?)", list(definitions.items()))
            for step, changed in changes.items():
                for name in changed.gone:
                    self._db.execute("DELETE FROM pieces WHERE step = ? AND name = ?", (step, name))
                put = [(step, name, _bytes(table)) for name, table in changed.put.items()]
                self._db.executemany("INSERT OR REPLACE INTO pieces VALUES (?, ?, ?)", put)
            parts = [(name, part) for name, group in rows.items() for part in group]
            entries = [
                (number, place, name, part.stream, _bytes(part.table)) for place, (name, part) in enumerate(parts)
            ]
            self._db.executemany("INSERT INTO outbox VALUES (?, ?, ?, ?, ?)", entries)
            self._db.execute("UPDATE about SET value = ? WHERE name = 'round'", (number,))
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self.round = number
        return number

    def first_round(self) -> int:
        """The oldest round that is still here, or the one that comes next."""
        (first,) = self._db.execute("SELECT min(round) FROM outbox").fetchone()
        return self.round + 1 if first is None else int(first)

    def rounds(self, since: int, destination: str | None = None) -> Generator[tuple[int, Round], None, None]:
        """The rounds from `since` on that gave something, oldest first; with `destination` what they gave to it."""
        only = "" if destination is None else " AND destination = ?"
        parameters = (since,) if destination is None else (since, destination)
        query = f"SELECT round, destination, stream, data FROM outbox WHERE round >= ?{only} ORDER BY round, place"
        with closing(self._db.cursor()) as cursor:
            number, held = 0, Round()
            for at, name, stream, data in cursor.execute(query, parameters):
                if at != number and held:
                    yield number, held
                    held = {}
                number = at
                held.setdefault(name, []).append(Rows(stream, table_from(data)))
            if held:
                yield number, held

    def next_round(self, since: int, destination: str) -> tuple[int, Round] | None:
        """The first round from `since` on that gave something to the destination."""
        rounds = self.rounds(since, destination)
        try:
            return next(rounds, None)
        finally:
            rounds.close()

    @property
    def floors(self) -> dict[str, int]:
        """The round from which on each destination wants what there is, as it was last saved."""
        return dict(self._db.execute("SELECT destination, round FROM floors"))

    def save_floors(self, floors: Mapping[str, int]) -> None:
        """Remembers how far the destinations are, and lets go of the rounds that all of them have."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("DELETE FROM floors")
        self._db.executemany("INSERT INTO floors VALUES (?, ?)", list(floors.items()))
        self._db.execute("DELETE FROM outbox WHERE round < ?", (min(floors.values(), default=0),))
        self._db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()


def _connected(file: Path) -> sqlite3.Connection:
    """Where several processes make the file at once SQLite refuses some of them without waiting: they try again."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        db = sqlite3.connect(file, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
        except sqlite3.OperationalError as exc:
            db.close()
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return db


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def table_from(data: bytes) -> pa.Table:
    """What a piece of state or rows of the outbox hold."""
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()
