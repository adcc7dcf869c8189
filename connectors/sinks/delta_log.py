"""The end of a Delta table's log, followed commit by commit, and commits of actions put there.

A commit must not cost more the longer a table's history is. deltalake lists the whole log and goes through all active
files for each; what an append has to know is said by the few commits since the table was opened: whether others have
moved our partitions on, or changed the columns. So these are read one by one, and a commit is one file, created once: of
two writers of a version the second is told, and reads what the first has done. A checkpoint is still deltalake's.

Reference: the Delta transaction protocol (PROTOCOL.md), "Delta Log Entries", "Transaction Identifiers", "Commit
Provenance Information", "Last Checkpoint File", "Metadata Cleanup".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import msgspec
from deltalake.exceptions import CommitFailedError

from connectors.sinks.store import Store

_MOST = 100  # commits of others that are read one by one: a table that is further ahead is opened anew
_json = msgspec.json.Encoder()


class Added(msgspec.Struct, frozen=True, rename="camel"):
    """An `add` action: a data file below the table, its partition's values as Delta writes them. Bytes, milliseconds."""

    path: str
    partition_values: dict[str, str | None]
    size: int
    modification_time: int
    stats: str
    data_change: bool = True


class _Transaction(msgspec.Struct, rename="camel"):
    app_id: str
    version: int


class _Action(msgspec.Struct, rename="camel"):
    """What of an action of anybody's an append has to know."""

    txn: _Transaction | None = None
    meta_data: Any = None
    protocol: Any = None


class _Checkpoint(msgspec.Struct):
    version: int


_action = msgspec.json.Decoder(_Action)


class LogEnd:
    """The newest commit of a table that this process knows.

    `version` is its number; `offsets` are the versions of the `txn` actions, by `appId`, since the commit it began at.
    """

    def __init__(self, store: Callable[[], Store], version: int) -> None:
        """`store` gives the place of the table's files, which is as the commit `version` left it."""
        self._store = store
        self.version = version
        self.offsets: dict[str, int] = {}

    def advance(self) -> bool:
        """Takes note of what others have committed; False where the table has to be opened anew. Raises Transient.

        That is where its columns or its protocol have changed, and where commits are missing that may have been there.
        """
        for _ in range(_MOST):
            entry = self._store().find(_name(self.version + 1))
            if entry is None:
                return self._is_newest()
            if not self._note(entry):
                return False
        return False

    def commit(
        self, added: Sequence[Added], offsets: Mapping[str, int], rows: int, partition_by: Sequence[str]
    ) -> None:
        """Adds files of so many rows together with the `txn` actions of `offsets`, by `appId`.

        Raises Transient, and CommitFailedError where another's commit stands against it.
        """
        mark = uuid4().hex
        content = _entry(mark, added, offsets, rows, partition_by)
        while not self._store().create(_name(self.version + 1), content):
            entry = self._store().find(_name(self.version + 1))
            before = {app: self.offsets.get(app) for app in offsets}
            if entry is not None and mark.encode() in entry:
                break  # it was sent again after its answer was lost
            if entry is None or not self._note(entry):
                raise CommitFailedError(f"commit {self.version + 1} came first, and has changed the table")
            if before != {app: self.offsets.get(app) for app in offsets}:
                raise CommitFailedError(f"commit {self.version} came first, and has rows of the same partition")
        self.version += 1
        self.offsets.update(offsets)

    def _note(self, entry: bytes) -> bool:
        actions = [_action.decode(line) for line in entry.splitlines() if line]
        if any(action.meta_data is not None or action.protocol is not None for action in actions):
            return False
        self.offsets.update({action.txn.app_id: action.txn.version for action in actions if action.txn is not None})
        self.version += 1
        return True

    def _is_newest(self) -> bool:
        """Whether what comes next has never been there: the log is trimmed below a checkpoint, and a table may be gone."""
        newest = self._store().find("_delta_log/_last_checkpoint")
        trimmed = newest is not None and msgspec.json.decode(newest, type=_Checkpoint).version > self.version
        return not trimmed and self._store().find(_name(self.version)) is not None


def _entry(
    mark: str, added: Sequence[Added], offsets: Mapping[str, int], rows: int, partition_by: Sequence[str]
) -> bytes:
    about = {
        "timestamp": time.time_ns() // 1_000_000,
        "operation": "WRITE",
        "operationParameters": {"mode": "Append", "partitionBy": _json.encode(partition_by).decode()},
        "operationMetrics": {"num_added_rows": rows, "num_added_files": len(added)},
        "isBlindAppend": True,
        "engineInfo": _engine_info(),
        "txnId": mark,
    }
    actions = [
        {"commitInfo": about},
        *({"add": one} for one in added),
        *({"txn": _Transaction(app, offset)} for app, offset in offsets.items()),
    ]
    return b"".join(_json.encode(action) + b"\n" for action in actions)


def _name(number: int) -> str:
    return f"_delta_log/{number:020d}.json"


@cache
def _engine_info() -> str:
    return f"headrace/{version('headrace')}"
