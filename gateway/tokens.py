"""API tokens: `hr_<id>_<secret>`, shown once, of which only a SHA-256 of the whole is kept.

The store is one SQLite file that every gateway process and the command line share. A process keeps all tokens in memory
and asks SQLite a few times a second whether another connection has written (`PRAGMA data_version`, microseconds), so a
revocation is in force within a second and a request costs no query. `last_used` is written some seconds late.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal, get_args

import msgspec

from connectors.errors import ConfigError, HeadraceError, Unavailable
from connectors.record import now_microseconds

Permission = Literal["ingest", "read", "admin"]
PERMISSIONS: tuple[str, ...] = get_args(Permission)

_SCHEMA = """CREATE TABLE IF NOT EXISTS tokens (
    id TEXT PRIMARY KEY, digest BLOB NOT NULL, permissions TEXT NOT NULL, streams TEXT,
    created INTEGER NOT NULL, expires INTEGER, revoked INTEGER, last_used INTEGER)"""
_COLUMNS = "id, digest, permissions, streams, created, expires, revoked, last_used"
_LOOK_SECONDS = 0.25
_USED_SECONDS = 5.0
_SECRET_BYTES = 24  # 192 bits
_DURATION = re.compile(r"([0-9]{1,9})\s*(s|m|h|d|w)")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a token; times in microseconds since the Unix epoch; `streams`: ids, or None for all."""

    id: str
    digest: bytes
    permissions: tuple[str, ...]
    streams: tuple[str, ...] | None
    created: int
    expires: int | None = None
    revoked: int | None = None
    last_used: int | None = None

    def is_for(self, stream: str) -> bool:
        """Whether the token is for the stream of this id."""
        return self.streams is None or stream in self.streams


def parse_duration(text: str) -> int:
    """`90d`, `12h`, `30m`, `45s`, `2w` in seconds; ValueError otherwise."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise ValueError(f"'{text}' is not a duration; write a number and a unit: 45s, 30m, 12h, 90d, 2w")
    return int(match[1]) * _UNIT_SECONDS[match[2]]


def tokens_path(data: Path) -> Path:
    """Where the token store lies in a data directory."""
    return data / "tokens.db"


class TokenStore:
    """The tokens in the file at `path`, which is made where it is missing. Threads may share it; made after a fork."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._looked = 0.0
        self._version = -1
        self._known: dict[str, Token] = {}
        self._used: dict[str, int] = {}
        self._flushed = time.monotonic()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._watch = self._connect()
            with closing(self._connect()) as connection, connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute(_SCHEMA)
            path.chmod(0o600)
            with self._lock:
                self._refresh()
        except (sqlite3.Error, OSError) as exc:
            raise ConfigError(
                f"the token store {path} cannot be opened: {exc}", remedy="mend its permissions or restore the file"
            ) from exc

    def create(
        self, streams: Sequence[str] | None, permissions: Sequence[str] = ("ingest",), expires: int | None = None
    ) -> tuple[Token, str]:
        """A new token and its text, which nothing can show again.

        `streams`: ids, or None for all; `expires`: seconds from now, or None for never.
        """
        unknown = [name for name in permissions if name not in PERMISSIONS]
        if unknown or not permissions:
            raise HeadraceError(
                f"unknown permission {', '.join(unknown) or '(none)'}", remedy=f"use {', '.join(PERMISSIONS)}"
            )
        created = now_microseconds()
        identity = secrets.token_hex(6)
        text = f"hr_{identity}_{secrets.token_hex(_SECRET_BYTES)}"
        token = Token(
            id=identity,
            digest=hashlib.sha256(text.encode()).digest(),
            permissions=tuple(dict.fromkeys(permissions)),
            streams=None if streams is None else tuple(stream.lower() for stream in streams),
            created=created,
            expires=None if expires is None else created + expires * 1_000_000,
        )
        row = (
            token.id,
            token.digest,
            ",".join(token.permissions),
            None if token.streams is None else ",".join(token.streams),
            token.created,
            token.expires,
        )
        self._write(f"INSERT INTO tokens ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)", [row])
        return token, text

    def list(self) -> list[Token]:
        """Every token, oldest first."""
        with self._lock:
            self._refresh()
            return sorted(self._known.values(), key=lambda token: (token.created, token.id))

    def revoke(self, identity: str) -> Token:
        """Takes a token out of force, for good; HeadraceError if there is none of this id. Twice is no error."""
        self._write("UPDATE tokens SET revoked = coalesce(revoked, ?) WHERE id = ?", [(now_microseconds(), identity)])
        for token in self.list():
            if token.id == identity:
                return token
        raise HeadraceError(f"there is no token with the id '{identity}'", remedy="see `headrace token list`")

    def find(self, text: str) -> Token | None:
        """The token of this text, whatever its state, or None. Raises Unavailable if the store is unreadable."""
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look()
        prefix, _, rest = text.partition("_")
        identity = rest.partition("_")[0] if prefix == "hr" else ""
        if identity and identity not in self._known:
            self._look(0)  # made a moment ago, by another process: a token works from when it was shown
        token = self._known.get(identity)
        digest = hashlib.sha256(text.encode()).digest()
        return token if token is not None and hmac.compare_digest(token.digest, digest) else None

    def note_use(self, token: Token, moment: int) -> None:
        """Remembers that a token was used at `moment` (microseconds); it is written within some seconds."""
        self._used[token.id] = moment
        if time.monotonic() - self._flushed > _USED_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what `note_use` remembers. A store that cannot be written now is no reason to refuse events."""
        with self._lock:
            self._flushed = time.monotonic()
            used, self._used = self._used, {}
        try:
            self._write(
                "UPDATE tokens SET last_used = max(coalesce(last_used, 0), ?) WHERE id = ?",
                [(moment, identity) for identity, moment in used.items()],
            )
        except Unavailable:
            self._used = used | self._used

    def close(self) -> None:
        self.flush()
        self._watch.close()

    def _look(self, seconds: float = _LOOK_SECONDS) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._looked <= seconds:
                return
            try:
                self._refresh()
            except sqlite3.Error as exc:
                raise Unavailable(f"the token store cannot be read: {exc}") from exc
            self._looked = now

    def _refresh(self) -> None:
        (version,) = self._watch.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return
        rows = self._watch.execute(f"SELECT {_COLUMNS} FROM tokens").fetchall()
        self._known = {row[0]: _token(row) for row in rows}
        self._version = version

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """On a connection of its own, so that the watching one sees the change."""
        try:
            with closing(self._connect()) as connection, connection:
                connection.executemany(statement, rows)
        except sqlite3.Error as exc:
            raise Unavailable(f"the token store {self._path} cannot be written: {exc}") from exc

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=5, check_same_thread=False)


def _token(row: tuple[str, bytes, str, str | None, int, int | None, int | None, int | None]) -> Token:
    identity, digest, permissions, streams, created, expires, revoked, last_used = row
    return Token(
        id=identity,
        digest=digest,
        permissions=tuple(permissions.split(",")),
        streams=None if streams is None else tuple(filter(None, streams.split(","))),
        created=created,
        expires=expires,
        revoked=revoked,
        last_used=last_used,
    )
