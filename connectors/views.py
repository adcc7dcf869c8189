"""Tables that are parts of others, made whole for DuckDB.

Slicing copies nothing: a column goes on holding all rows, with an offset. DuckDB 2.0 refuses such a column where a struct
lies in a struct ("a struct or union below an offset the conversion would drop"), so whoever hands it a slice of rows
that a stream's events may have shaped has it copied first.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def whole(table: pa.Table) -> pa.Table:
    """The same rows; columns of structs in structs that are views into a longer array are copied."""
    for place, field in enumerate(table.schema):
        column = table.column(place)
        if pa.types.is_nested(field.type) and any(chunk.offset for chunk in column.chunks):
            chunks = [chunk.take(pa.array(np.arange(len(chunk)))) if chunk.offset else chunk for chunk in column.chunks]
            table = table.set_column(place, field, pa.chunked_array(chunks, field.type))
    return table
