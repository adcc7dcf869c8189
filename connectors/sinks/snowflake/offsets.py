"""How far a table has each partition of the log: rows of a table of their own, changed in the transaction of the load.

A change names the offset that it expects to find. `UPDATE` locks what it changes until the transaction ends, so of two
writers the second finds the offset moved and changes nothing: it is fenced, and its load is undone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from connectors.sinks.snowflake.identifiers import qualified, resolved
from connectors.sinks.snowflake.session import Session
from connectors.sinks.snowflake.settings import SnowflakeDestination

_COLUMNS = (
    '"LOG" VARCHAR NOT NULL, "TABLE_NAME" VARCHAR NOT NULL, "PARTITION" NUMBER(38,0) NOT NULL,'
    ' "NEXT_OFFSET" NUMBER(38,0) NOT NULL, "CHANGED_AT" TIMESTAMP_TZ'
)


class Offsets:
    """Those of one `table`; `log` is the log's identity: offsets of another log mean nothing here."""

    def __init__(self, settings: SnowflakeDestination, log: str, table: str) -> None:
        self._name = qualified(*settings.place, resolved(settings.offsets_table))
        self._key = (log, table)

    def create(self, session: Session) -> None:
        """Makes the table of offsets where it is missing."""
        session.run(f"CREATE TABLE IF NOT EXISTS {self._name} ({_COLUMNS})", doing="making the table of offsets")

    def read(self, session: Session) -> dict[int, int]:
        """The next offset wanted of each partition that has a row, as it is committed."""
        rows = session.run(
            f'SELECT "PARTITION", "NEXT_OFFSET" FROM {self._name} WHERE "LOG" = %s AND "TABLE_NAME" = %s',
            self._key,
            doing="reading the offsets",
        )
        return {int(partition): int(offset) for partition, offset in rows}

    def note(self, session: Session, partitions: Collection[int]) -> None:
        """Gives each of the partitions a row, if it has none. It is a MERGE: of two writers one finds the other's rows."""
        wanted = " UNION ALL ".join(f"SELECT %s AS L, %s AS T, {partition:d} AS P" for partition in sorted(partitions))
        session.run(
            f"MERGE INTO {self._name} O USING ({wanted}) N"
            ' ON O."LOG" = N.L AND O."TABLE_NAME" = N.T AND O."PARTITION" = N.P WHEN NOT MATCHED THEN INSERT'
            ' ("LOG", "TABLE_NAME", "PARTITION", "NEXT_OFFSET") VALUES (N.L, N.T, N.P, 0)',
            self._key * len(partitions),
            doing="noting partitions of the log",
        )

    def advance(self, session: Session, before: Mapping[int, int], after: Mapping[int, int]) -> bool:
        """Within a transaction: moves every partition of `after` on from `before`; False where one was elsewhere."""
        cases = " ".join(f"WHEN {partition:d} THEN {offset:d}" for partition, offset in sorted(after.items()))
        found = " OR ".join(
            f'("PARTITION" = {partition:d} AND "NEXT_OFFSET" = {before[partition]:d})' for partition in sorted(after)
        )
        [[changed, *_]] = session.run(
            f'UPDATE {self._name} SET "NEXT_OFFSET" = CASE "PARTITION" {cases} END,'
            f' "CHANGED_AT" = CURRENT_TIMESTAMP() WHERE "LOG" = %s AND "TABLE_NAME" = %s AND ({found})',
            self._key,
            doing="moving the offsets on",
        )
        return int(changed) == len(after)
