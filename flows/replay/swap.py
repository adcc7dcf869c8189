"""A table built anew within the live table's directory, and the one commit that puts it in the live table's place.

The new table is a Delta table of its own in `<table>/rebuild-…/`. Nothing of the live table's log names it until the swap:
one commit that removes every file of the live table and adds those of the new one, where they lie, with its schema. The
offsets of the dataflow stay as they are, so its next commit goes on from there. The commit is of exactly one version: where
anyone has committed since that was read, it fails and nothing has happened. A commit of the dataflow that is under way
meanwhile fails in its turn, as the table's schema and its own `txn` were written, and is done again by its destination.
Reference: the Delta transaction protocol (PROTOCOL.md), "Add File and Remove File", "Transaction Identifiers".
"""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction

from connectors.errors import Transient
from connectors.sinks.settings import DeltaDestination
from connectors.sinks.store import open_store
from connectors.sinks.upkeep import open_table

_FOREVER = timedelta(days=3650)


class NewTable:
    """The table that is built for `stream` of `live`, under `name`; not there until something is written to it."""

    def __init__(self, live: DeltaDestination, stream: str, name: str, partition_by: tuple[Any, ...]) -> None:
        self._directory = f"rebuild-{name}"
        self._marker = f"headrace/rebuild/{name}"
        self._stream = stream
        uri = f"{live.table_uri(stream).rstrip('/')}/{self._directory}"
        forever = msgspec.structs.replace(live.maintenance, keep_log=_FOREVER)  # its log is read entry by entry
        self.settings = msgspec.structs.replace(live, uri=uri, partition_by=partition_by, maintenance=forever)
        self._store = open_store(self.settings, stream)
        self._read: set[str] = set()
        self._adds: list[AddAction] = []

    def is_in(self, live: DeltaTable) -> bool:
        """Whether it has been put in the live table's place."""
        return bool(live.transaction_version(self._marker))

    def swap(self, live: DeltaTable, apps: dict[str, int]) -> bool:
        """Puts it in the place of the live table as `live` has it; False where someone has committed since.

        `apps` are the `txn` actions that stay as they are. Raises Transient: it may have happened then, `is_in` tells.
        """
        new = open_table(self.settings, self._stream)
        self._collect()
        stay = [Transaction(app, version) for app, version in sorted(apps.items())]
        try:
            live.create_write_transaction(
                self._adds,
                "overwrite",
                (live if new is None else new).schema(),
                list(live.metadata().partition_columns),
                commit_properties=CommitProperties(
                    max_commit_retries=0, app_transactions=[*stay, Transaction(self._marker, 1)]
                ),
            )
        except CommitFailedError:
            return False
        except (DeltaError, OSError) as exc:
            raise Transient(f"committing to {live.table_uri}: {exc}") from exc
        return True

    def forget(self) -> None:
        """Its own log goes, its files are the live table's now. What is left behind by a crash, vacuuming deletes."""
        self._remove("_delta_log")

    def discard(self) -> None:
        """All of it goes: it was never put in place."""
        self._remove("")

    def _collect(self) -> None:
        """Its files, by the entries of its log that are new. Nothing ever removes one."""
        for name in sorted(self._store.names("_delta_log")):
            if not name.endswith(".json") or not name[:-5].isdigit() or name in self._read:
                continue
            for line in self._store.read(f"_delta_log/{name}").splitlines():
                add = msgspec.json.decode(line).get("add") if line.strip() else None
                if add:
                    path = f"{self._directory}/{unquote(add['path'])}"
                    facts = (
                        add["size"],
                        add["partitionValues"],
                        add["modificationTime"],
                        True,
                        add.get("stats") or "{}",
                    )
                    self._adds.append(AddAction(path, *facts))
            self._read.add(name)

    def _remove(self, below: str) -> None:
        uri = "/".join(part for part in (self.settings.uri, below) if part)
        if self.settings.is_local:
            shutil.rmtree(Path(uri), ignore_errors=True)
            return
        from connectors.sinks.probe import filesystem  # S3's client takes a second to import

        try:
            filesystem(self.settings).rm(uri.replace("s3a://", "s3://"), recursive=True)
        except FileNotFoundError:
            pass
        except OSError as exc:
            raise Transient(f"deleting {uri}: {exc}") from exc
