"""The table of dead letters as what pipelines set aside reaches it: each letter once, whichever configuration made it.

How far the letters of a partition are is kept for each configuration apart (`dead_letters.edition`): an event that was on
its way to a destination under one may be refused under the next, and becomes a letter though those of its neighbours have
been there for long. One more offset stands for all configurations together. It fences: a process that was left behind by
a change of the configuration finds it moved. And below it there can be letters of earlier ones (`flows.set_aside`).
"""

from __future__ import annotations

from urllib.parse import quote

from deltalake import DeltaTable

from connectors.errors import Fenced
from connectors.sinks.dead_letters import NAME, SCHEMA
from connectors.sinks.delta import DeltaWriter
from connectors.sinks.delta_table import TableWriter
from connectors.sinks.settings import DeltaDestination


def reached(table: DeltaTable, log_identity: str, partition: int) -> int:
    """Below which offset of a partition of the log the table may have letters that pipelines made."""
    return int(table.transaction_version(_app_id(log_identity, partition)) or 0)


class LettersWriter(DeltaWriter):
    """What pipelines set aside, within one process (implements `Writer`); `Rows` come under the name of their edition.

    Those of a stream with a memory come under `dead_letters.NAME`: each of its rounds has had its configuration.
    """

    def __init__(self, settings: DeltaDestination, log_identity: str) -> None:
        """`settings` are those of the table of dead letters."""
        super().__init__(settings, log_identity, name=NAME, base=SCHEMA)

    def _table(self, stream: str) -> TableWriter:
        if stream not in self._tables and stream != NAME:
            self._tables[stream] = _Edition(self._settings, stream, self._identity)
        return super()._table(stream)


class _Edition(TableWriter):
    """The letters of one configuration."""

    def __init__(self, settings: DeltaDestination, edition: str, identity: str) -> None:
        super().__init__(settings, edition, identity, SCHEMA, destination=NAME)
        self._identity = identity
        self._reached: dict[int, int] = {}  # partition -> as this process last saw or wrote it

    def reset(self) -> None:
        """See `TableWriter.reset`."""
        super().reset()
        self._reached = {}

    def committed(self, partition: int) -> int:
        """See `TableWriter.committed`."""
        if partition not in self._reached:
            self._reached[partition] = self._version_of(_app_id(self._identity, partition))
        return super().committed(partition)

    def _marks(self) -> dict[str, int]:
        return super()._marks() | {_app_id(self._identity, p): offset for p, offset in sorted(self._further().items())}

    def _refuse_if_moved(self) -> None:
        super()._refuse_if_moved()
        if any(self._version_of(_app_id(self._identity, p)) != self._reached[p] for p in self._next):
            raise Fenced(
                f"{self._uri}: a dataflow with another configuration has committed letters",
                remedy="stop the other `headrace run`; only one may write a log's tables",
            )

    def _took(self) -> None:
        self._reached |= self._further()
        super()._took()

    def _further(self) -> dict[int, int]:
        return {partition: max(offset, self._reached[partition]) for partition, offset in self._next.items()}


def _app_id(log_identity: str, partition: int) -> str:
    return f"headrace/{quote(log_identity, safe='')}/{NAME}/{partition}"
