"""The table of dead letters as commands have it: letters are taken out of it beside the dataflow that appends.

Taking out is a Delta commit of its own that leaves the `txn` actions alone, so no writer is fenced by it; where it meets
another commit it gives way and is tried again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from connectors.errors import Transient
from connectors.sinks import dead_letters
from connectors.sinks.settings import DeltaDestination
from connectors.sinks.upkeep import open_table

KEY = pa.schema(
    [
        dead_letters.SCHEMA.field(name)
        for name in ("event_id", "stream", "stage", "step", "destination", "topic", "partition", "offset", "index")
    ]
)
"""What tells a letter from all others: an event that fails again is at another place in the log."""

_TRIES = 20


def letter_table(data: Path) -> DeltaTable | None:
    """The table of a data directory; None where nothing has ever become a dead letter. Raises Transient."""
    settings = DeltaDestination(uri=str(data / dead_letters.NAME), partition_by=())
    return open_table(settings, dead_letters.NAME)


def letters_where(table: DeltaTable, columns: Sequence[str], where: str) -> pa.Table:
    """Some columns of the letters for which an SQL predicate is true. Raises Transient."""
    try:
        return pa.table(table.scan(columns=list(columns), predicate=where))
    except (DeltaError, OSError) as exc:
        raise Transient(f"reading {table.table_uri}: {exc}") from exc


def remove(table: DeltaTable, keys: pa.Table) -> int:
    """Takes the letters with these keys (`KEY`) out of the table; how many there were. Raises Transient."""
    if not keys.num_rows:
        return 0
    for left in reversed(range(_TRIES)):
        try:
            table.update_incremental()
            return _removed(table, keys.select(KEY.names).cast(KEY))
        except CommitFailedError as exc:
            if not left:
                raise Transient(f"taking letters out of {table.table_uri}: {exc}", remedy="try again") from exc
            time.sleep(random.uniform(0.05, 0.3))  # noqa: S311 -- so that the same two do not meet again
        except (DeltaError, OSError) as exc:
            raise Transient(f"taking letters out of {table.table_uri}: {exc}") from exc
    raise AssertionError("unreachable")


def _removed(table: DeltaTable, keys: pa.Table) -> int:
    same = []
    for field in KEY:
        nothing = "''" if field.type == pa.string() else "-1"
        same.append(f'coalesce(letter."{field.name}", {nothing}) = coalesce(gone."{field.name}", {nothing})')
    merge = table.merge(keys, " AND ".join(same), source_alias="gone", target_alias="letter")
    done = merge.when_matched_delete().execute()
    return int(done["num_target_rows_deleted"])
