"""The tables of one destination, as a replay finds them: which there are, and what they have."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa

from connectors.sinks.settings import DeltaDestination, ParquetDestination
from connectors.sinks.snowflake.settings import SnowflakeDestination
from connectors.sinks.there import Scanned, There, delta_scan, parquet_scan
from connectors.sinks.upkeep import open_table
from flows.config import Config

if TYPE_CHECKING:
    from connectors.sinks.snowflake.looking import Looking


class Tables:
    """Those of the destination `into` with rows of the stream called `stream`: its own, and its rollups'."""

    def __init__(self, config: Config, stream: str, into: str, repeats_until: datetime | None) -> None:
        """For `repeats_until` see `There`."""
        self._settings = config.destinations[into]
        self._stream = stream
        self._repeats_until = repeats_until
        self._known: dict[str, There | None] = {}

    def there(self, table: str) -> There | None:
        """What the table of this name has, as it was when it was first asked for; None where it was not there.

        Of a destination that knows an event by its id, or takes it any number of times, that is nobody's concern: None.
        """
        if table not in self._known:
            self._known[table] = self._look(table)
        return self._known[table]

    @property
    def is_gone(self) -> bool:
        """Whether the stream's table is not there (any more)."""
        if isinstance(self._settings, DeltaDestination):
            return open_table(self._settings, self._stream) is None
        if isinstance(self._settings, SnowflakeDestination):
            return not self._snowflake.has_table(self._stream)
        return False

    def _look(self, table: str) -> There | None:
        time = "received_at" if table == self._stream else "window_start"
        if isinstance(self._settings, DeltaDestination):
            opened = open_table(self._settings, table)
            scan = None if opened is None else delta_scan(opened)
        elif isinstance(self._settings, ParquetDestination):
            scan = parquet_scan(self._settings, table, time)
        elif isinstance(self._settings, SnowflakeDestination):
            if not self._snowflake.has_table(table):
                return None

            def among(ids: pa.ChunkedArray, low: datetime | None, high: datetime) -> pa.Array:
                return self._snowflake.among(ids, table, time, low, high)

            return There(among, time, repeats_until=self._repeats_until)
        else:
            return None
        return None if scan is None else There(Scanned(scan, time), time, repeats_until=self._repeats_until)

    @cached_property
    def _snowflake(self) -> Looking:
        from connectors.sinks.snowflake.looking import Looking  # its client takes a second to import

        assert isinstance(self._settings, SnowflakeDestination)
        return Looking(self._settings)
