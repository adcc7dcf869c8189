"""What of a record's value is written: a large one compressed, a small one as it is.

Zstandard (RFC 8878) at its first level takes less time than SQLite takes to write what it saves, and to read it again.
"""

from __future__ import annotations

from collections import deque

import zstandard

_WORTH = 2_048  # bytes: less is mostly an event or two, and saves little
_KEPT = 8  # compressors, for as many threads at once: each has some hundred kilobytes, and is one thread's at a time

_compressors: deque[zstandard.ZstdCompressor] = deque(maxlen=_KEPT)


def stored(value: bytes) -> tuple[bytes, int | None]:
    """(what to write, the size of `value`); None for the size where it is written as it is."""
    if len(value) < _WORTH:
        return value, None
    try:
        compressor = _compressors.pop()
    except IndexError:
        compressor = zstandard.ZstdCompressor(level=1)
    packed = compressor.compress(value)
    _compressors.append(compressor)
    return (packed, len(value)) if len(packed) < len(value) else (value, None)


class Values:
    """Reads values again. Belongs to one thread."""

    def __init__(self) -> None:
        self._decompress = zstandard.ZstdDecompressor().decompress

    def read(self, written: bytes, size: int | None) -> bytes:
        """The value of which `stored` made this; ValueError where that is damaged."""
        if size is None:
            return written
        try:
            value = self._decompress(written, max_output_size=size)
        except zstandard.ZstdError as exc:
            raise ValueError(str(exc)) from exc
        if len(value) != size:
            raise ValueError(f"{len(value)} bytes in place of {size}")
        return value
