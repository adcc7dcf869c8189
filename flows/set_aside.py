"""Events that have left the pipeline as dead letters, under whichever configuration: they go on with `dlq replay` alone.

A destination that was behind when the configuration changed reads events again that went through the pipeline before. One
that had been set aside may be right under the new configuration; if it went on now, it would be there twice once its
letter is replayed. So what the table of letters has is left out.
"""

from __future__ import annotations

from contextlib import suppress

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from connectors.batch import StreamLines
from connectors.columns import literal
from connectors.errors import Transient
from connectors.log import Log
from connectors.sinks.dead_letters import EVENT_STAGES
from connectors.sinks.letter_table import letters_where
from connectors.sinks.letters_writer import reached

_STAGES = ", ".join(f"'{stage}'" for stage in EVENT_STAGES)


class SetAside:
    """The letters that a process finds when it starts; what it makes itself it does not make twice."""

    def __init__(self, table: DeltaTable | None, log: Log) -> None:
        """`table` is that of the letters, if there is one."""
        self._table = table
        self._log = log
        self._until: dict[int, int] = {}

    def without(self, part: StreamLines, partition: int) -> StreamLines:
        """The lines of a partition of the log that are no letters yet. Raises Transient."""
        if self._table is None or not part.table.num_rows:
            return part
        if partition not in self._until:
            self._until[partition] = reached(self._table, self._log.identity, partition)
        offsets = part.table.column("_offset")
        if offsets[0].as_py() >= self._until[partition]:
            return part
        letters = self._letters(partition, offsets[0].as_py(), offsets[-1].as_py(), part.to)
        if not letters:
            return part
        places = zip(offsets.to_pylist(), part.table.column("index").to_pylist(), strict=True)
        return part.where(pa.array([place not in letters for place in places]))

    def _letters(self, partition: int, low: int, high: int, to: str | None) -> set[tuple[int, int]]:
        """(offset, index) of each between the two offsets, both included."""
        topic, number = self._log.place(partition)
        where = f'topic = {literal(topic)} AND "partition" = {number} AND "offset" >= {low} AND "offset" <= {high}'
        where += f" AND stage IN ({_STAGES}) AND destination {'IS NULL' if to is None else f'= {literal(to)}'}"
        found = self._read(where)
        return set(zip(found["offset"].to_pylist(), found["index"].to_pylist(), strict=True))

    def _read(self, where: str) -> pa.Table:
        assert self._table is not None
        columns = ["offset", "index"]
        try:
            return letters_where(self._table, columns, where)
        except Transient:  # a vacuum may have taken files away that a process of weeks still knew
            with suppress(DeltaError, OSError):
                self._table = DeltaTable(self._table.table_uri)
            return letters_where(self._table, columns, where)
