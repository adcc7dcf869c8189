"""The lines of one stream after another as the relation that pipelines read: each has its stream's name beside it.

The name is a column and no literal: streams with the same steps, whose events look alike, have one query together, which
is planned once for all of them.
"""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

from connectors.batch import LINES
from flows.queries import Queries
from flows.shape import STREAM_NAME
from flows.structures import Structures

_FIELD = pa.field(STREAM_NAME, pa.dictionary(pa.int8(), pa.string()))


class Lines(Queries):
    """The queries of an engine over lines (`LINES`) with their stream's name, a batch at a time."""

    def __init__(self, engine: duckdb.DuckDBPyConnection) -> None:
        super().__init__(engine, LINES.append(_FIELD))
        self.structures = Structures(engine)

    def put_of(self, stream: str, lines: pa.Table) -> None:
        """Makes the lines of this stream what the source has, until `clear`."""
        names = pa.DictionaryArray.from_arrays(np.zeros(lines.num_rows, np.int8), [stream])
        self.put(lines.append_column(_FIELD, names))
