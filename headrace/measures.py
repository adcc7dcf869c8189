"""What `headrace stats` counts: tables as their own logs tell it, and the event log's ends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from connectors.errors import HeadraceError

if TYPE_CHECKING:
    from flows.config import Config


def measure_tables(config: Config) -> list[dict[str, Any]]:
    """For each stream and destination that its events can go to: rows, commits, time of the last.

    `rows` is None where the destination is no table that can be asked, 0 where nothing has landed.
    Raises HeadraceError where a store cannot be read.
    """
    from flows.config.rules import routed_to

    return [
        {"kind": "destination", "stream": name, "destination": destination, **_table(config, name, destination)}
        for name, stream in config.streams.items()
        for destination in routed_to(stream)
        if destination in config.destinations
    ]


def _table(config: Config, stream: str, destination: str) -> dict[str, Any]:
    import pyarrow as pa
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    from connectors.sinks.settings import DeltaDestination

    settings: Any = config.destinations[destination]
    if not isinstance(settings, DeltaDestination):
        return {"rows": None, "commits": None, "last_commit": None}
    uri = settings.table_uri(stream)
    try:
        table = DeltaTable(uri, storage_options=settings.storage_options())
        counts = pa.table(table.get_add_actions(flatten=True)).column("num_records").to_pylist()
        [newest] = table.history(1)
    except TableNotFoundError:
        return {"rows": 0, "commits": 0, "last_commit": None}
    except (DeltaError, OSError) as exc:
        raise HeadraceError(f"reading {uri}: {exc}", remedy="`headrace doctor` tries each part") from exc
    moment = datetime.fromtimestamp(newest["timestamp"] / 1000, UTC)
    last = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    # The table's making is version 0, and no commit of rows.
    return {"rows": sum(count or 0 for count in counts), "commits": table.version(), "last_commit": last}


def measure_log(config: Config) -> list[dict[str, Any]]:
    """For each partition its end, what is committed of it and the lag, in records; last, the log as a whole."""
    from connectors.log import EmbeddedLogSettings, open_log

    log = open_log(config.log)
    try:
        committed = log.committed("headrace")
        reader = log.reader(range(log.partitions), {}, group="headrace.looking")
        try:
            ends = reader.end_offsets()
            places = {partition: log.place(partition) for partition in ends}
        finally:
            reader.close()
    finally:
        log.close()
    rows: list[dict[str, Any]] = [
        {
            "kind": "partition",
            "topic": places[p][0],
            "partition": places[p][1],
            "end": end,
            "committed": committed.get(p, 0),
            "lag": end - committed.get(p, 0),
        }
        for p, end in sorted(ends.items())
    ]
    size = None
    if isinstance(config.log, EmbeddedLogSettings):
        size = sum(file.stat().st_size for file in config.log.path.glob("*") if file.is_file())
    return [
        *rows,
        {"kind": "log", "records": sum(ends.values()), "lag": sum(row["lag"] for row in rows), "bytes": size},
    ]
