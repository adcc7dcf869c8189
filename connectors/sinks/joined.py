"""The texts of an Arrow column as one run of bytes, which is how Arrow keeps them: nothing is copied row by row."""

from __future__ import annotations

import pyarrow as pa


def joined(texts: pa.ChunkedArray) -> memoryview:
    """The bytes of the texts, one after the other; none of them may be NULL."""
    whole = texts.cast(pa.large_string()).combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], pa.large_string())
    if not len(whole):
        return memoryview(b"")
    _, ends, data = whole.buffers()
    at = memoryview(ends).cast("B").cast("q")
    return memoryview(data).cast("B")[at[whole.offset] : at[whole.offset + len(whole)]]
