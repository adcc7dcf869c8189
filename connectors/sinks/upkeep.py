"""Keeps Delta tables readable: small files become large ones, old files and old log entries go.

One owner at a time does this (`flows.upkeep`), beside the dataflow that writes: a compaction replaces files by others
with the same rows and leaves the `txn` actions alone, so no writer is fenced by it. Where a commit of the two does meet
another the compaction gives way and is tried again. Reference: the Delta transaction protocol (PROTOCOL.md), "Add File
and Remove File", "Vacuum", "Metadata Cleanup".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec
import pyarrow as pa
from deltalake import DeltaTable, WriterProperties
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from connectors.errors import Transient
from connectors.sinks.delta_files import LONGEST_VALUE
from connectors.sinks.settings import DeltaDestination, Maintenance

_TRIES = 3
_WARM_FILES = 64  # small files that a partition gathers before it is compacted although rows still come
_WARM_SHARE = 8  # such a step makes files of at most 1/8 of the full size: what is rewritten again stays little


class Compacted(msgspec.Struct, frozen=True):
    """What a compaction did to one partition (`date=2025-02-12`; empty: the whole table). Sizes in bytes."""

    partition: str
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int


class _Step(msgspec.Struct, frozen=True):
    partition: tuple[tuple[str, str], ...]
    target: int


def open_table(settings: DeltaDestination, table: str) -> DeltaTable | None:
    """The table of this name (a stream's, or `<stream>_<rollup>`); None where there is none yet. Raises Transient."""
    uri = settings.table_uri(table)
    try:
        return DeltaTable(uri, storage_options=settings.storage_options())
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as exc:
        raise Transient(f"opening {uri}: {exc}", remedy="`headrace doctor` tries each part") from exc


def compact(table: DeltaTable, rules: Maintenance, *, now: datetime, every: bool = False) -> list[Compacted]:
    """Makes few files of many, partition by partition, each a commit of its own; what was done.

    A partition is due when it has `rules.files` small files and no row has come for `rules.cold_after`; one that rows
    still come to when it has many more, in bounded steps; with `every`, each that has two. Raises Transient.
    """
    done = []
    for step in list(_due(table, rules, now, every)):
        made = _compact(table, step)
        if made is not None:
            done.append(made)
    if done:
        _checked(table, "writing a checkpoint of", table.create_checkpoint)
    return done


def vacuum(table: DeltaTable, keep: timedelta, *, dry_run: bool = False) -> list[str]:
    """Deletes files that no version since `keep` ago has; their names.

    Among them are files whose commit never happened. `keep` is longer than a write takes, or a file could go before its
    commit comes. Raises Transient.
    """
    hours = math.ceil(keep.total_seconds() / 3600)

    def run() -> list[str]:
        table.update_incremental()
        return table.vacuum(hours, dry_run=dry_run, enforce_retention_duration=False, full=True)  # type: ignore[no-any-return]

    names: list[str] = _checked(table, "vacuuming", run)
    return names


def trim_log(table: DeltaTable) -> None:
    """Deletes log entries that a checkpoint stands for, older than the table's `delta.logRetentionDuration`."""

    def run() -> None:
        table.update_incremental()
        table.create_checkpoint()
        table.cleanup_metadata()

    _checked(table, "trimming the log of", run)


def history(table: DeltaTable, limit: int) -> list[dict[str, Any]]:
    """The newest commits first: `version`, `timestamp` (RFC 3339), `operation`, `rows`, `files_added`, `files_removed`.

    What a commit does not say is None.
    """
    commits: list[dict[str, Any]] = _checked(table, "reading the history of", lambda: table.history(limit))
    return [_commit(commit) for commit in commits]


def _commit(commit: dict[str, Any]) -> dict[str, Any]:
    metrics = commit.get("operationMetrics") or {}

    def metric(*names: str) -> int | None:
        found = next((metrics[name] for name in names if metrics.get(name) is not None), None)
        return None if found is None else int(found)

    moment = datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)
    return {
        "version": commit.get("version"),
        "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "operation": commit.get("operation"),
        "rows": metric("num_added_rows", "numOutputRows"),
        "files_added": metric("num_added_files", "numFilesAdded", "numAddedFiles"),
        "files_removed": metric("num_removed_files", "numFilesRemoved", "numRemovedFiles"),
    }


def _due(table: DeltaTable, rules: Maintenance, now: datetime, every: bool) -> Iterator[_Step]:
    actions = pa.table(_checked(table, "reading", lambda: table.get_add_actions(flatten=True)))
    columns = [name for name in actions.column_names if name.startswith("partition.")]
    partitions: dict[tuple[tuple[str, str], ...], list[tuple[int, int]]] = {}
    for row in actions.select([*columns, "size_bytes", "modification_time"]).to_pylist():
        if any(row[name] is None or len(quote(str(row[name]), safe="")) > LONGEST_VALUE for name in columns):
            continue  # no filter names it, or no directory: a compaction calls its own by the whole value
        key = tuple((name.removeprefix("partition."), str(row[name])) for name in columns)
        partitions.setdefault(key, []).append((row["size_bytes"], row["modification_time"]))
    for key, files in sorted(partitions.items()):
        newest = datetime.fromtimestamp(max(modified for _, modified in files) / 1000, UTC)
        warm_target = rules.file_bytes // _WARM_SHARE
        # Two files of half the size always make one; larger ones may find no partner and would be tried for ever.
        small = sum(size < rules.file_bytes // 2 for size, _ in files)
        tiny = sum(size < warm_target // 2 for size, _ in files)
        cold = now - newest >= rules.cold_after
        if small >= (2 if every else rules.files) and (cold or every):
            yield _Step(key, rules.file_bytes)
        elif tiny >= max(_WARM_FILES, rules.files):
            yield _Step(key, warm_target)


def _compact(table: DeltaTable, step: _Step) -> Compacted | None:
    def run() -> dict[str, Any]:
        table.update_incremental()
        return table.optimize.compact(  # type: ignore[no-any-return]
            partition_filters=[(name, "=", value) for name, value in step.partition] or None,
            target_size=step.target,
            max_concurrent_tasks=1,
            writer_properties=WriterProperties(compression="ZSTD", compression_level=3),
        )

    metrics = _checked(table, "compacting", run)
    if not metrics["numFilesAdded"]:
        return None
    before, after = (msgspec.json.decode(metrics[name]) for name in ("filesRemoved", "filesAdded"))
    partition = "/".join(f"{name}={value}" for name, value in step.partition)
    return Compacted(
        partition, metrics["numFilesRemoved"], metrics["numFilesAdded"], before["totalSize"], after["totalSize"]
    )


def _checked(table: DeltaTable, doing: str, work: Any) -> Any:
    """The result of `work`, tried again where another's commit came first. Raises Transient."""
    for left in reversed(range(_TRIES)):
        try:
            return work()
        except CommitFailedError as exc:
            if not left:
                raise Transient(f"{doing} {table.table_uri}: {exc}", remedy="it is tried again later") from exc
        except (DeltaError, OSError) as exc:
            raise Transient(f"{doing} {table.table_uri}: {exc}") from exc
    raise AssertionError("unreachable")
