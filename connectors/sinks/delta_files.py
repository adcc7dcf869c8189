"""The data files of a Delta table, and the actions that add them: encoded by Arrow, which takes half the time that Delta's
own writer takes for the same file.

A file's name is its own, and nobody looks for the file before a commit adds it; one whose commit never comes is deleted
by `vacuum`. Reference: the Delta transaction protocol (PROTOCOL.md), "Add File and Remove File", "Partition Value
Serialization", "Requirements for Writers".
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.sinks.delta_log import Added
from connectors.sinks.delta_statistics import statistics
from connectors.sinks.store import Store

LEVEL = 1
"""Of zstd: compaction writes the files anew."""

LONGEST_VALUE = 200
"""Characters of a partition's value, escaped, in a directory's name. It is for people: the table's log has the values."""

_DICTIONARY_BYTES = 524_288  # of a column's values: thousands of hashes have room, ids outgrow it soon
_FILE_BYTES = 536_870_912  # of rows in memory: such a file has 50 to 100 MB
_AT_ONCE = 8  # files on their way to the store


def written(rows: pa.Table, partition_by: Sequence[str], store: Store) -> list[Added]:
    """Writes the rows, a file a partition, more where they are many; what adds them to the table. Raises Transient."""
    added: list[Added] = []
    waiting: list[tuple[str, pa.Buffer]] = []
    length = max(1, -(-rows.num_rows // max(1, -(-rows.nbytes // _FILE_BYTES))))
    for start in range(0, rows.num_rows, length):
        for values, part in _by_partition(rows.slice(start, length), partition_by):
            directory = "".join(f"{name}={_directory(value)}/" for name, value in values.items())
            name = f"{directory}part-{uuid4()}.zstd.parquet"
            content, stats = _encoded(part.drop_columns(list(values)))
            added.append(Added(_in_the_log(name), values, content.size, time.time_ns() // 1_000_000, stats))
            waiting.append((name, content))
            if len(waiting) == _AT_ONCE:
                _add(waiting, store)
                waiting.clear()
    _add(waiting, store)
    return added


def _add(files: Sequence[tuple[str, pa.Buffer]], store: Store) -> None:
    """Side by side where they are several: a store far away takes its time for each."""
    if len(files) == 1:
        store.add(*files[0])
    elif files:
        with ThreadPoolExecutor(len(files)) as pool:
            for _ in pool.map(store.add, *zip(*files, strict=True)):
                pass


def _in_the_log(name: str) -> str:
    """A file's name as the log has it: a URI's path. What else would have to be escaped is so in the name itself."""
    return name.replace("%", "%25")


def _by_partition(rows: pa.Table, names: Sequence[str]) -> Iterator[tuple[dict[str, str | None], pa.Table]]:
    """The rows of each partition, in order, with its values as Delta writes them."""
    codes = {name: rows.column(name).combine_chunks().dictionary_encode("encode") for name in names}
    texts = {name: code.dictionary.cast(pa.string()).to_pylist() for name, code in codes.items()}
    if all(len(of) == 1 for of in texts.values()):
        yield {name: of[0] or None for name, of in texts.items()}, rows
        return
    places = np.zeros(rows.num_rows, np.int64)
    for code in codes.values():
        places = places * len(code.dictionary) + code.indices.to_numpy()
    _, first, inverse = np.unique(places, return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    ends = np.cumsum(np.bincount(inverse))
    for row, start, end in zip(first.tolist(), [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        # An empty text is a null to Delta, as to all its writers.
        values = {name: texts[name][code.indices[row].as_py()] or None for name, code in codes.items()}
        yield values, rows.take(pa.array(order[start:end]))


def _directory(value: str | None) -> str:
    return "__HIVE_DEFAULT_PARTITION__" if value is None else quote(value, safe="")[:LONGEST_VALUE]


def _encoded(rows: pa.Table) -> tuple[pa.Buffer, str]:
    """A Parquet file in memory, and its statistics as the action has them."""
    sink = pa.BufferOutputStream()
    about: list[pq.FileMetaData] = []
    settings = {"compression": "zstd", "compression_level": LEVEL, "dictionary_pagesize_limit": _DICTIONARY_BYTES}
    with pq.ParquetWriter(sink, rows.schema, metadata_collector=about, **settings) as writer:
        writer.write_table(rows)
    return sink.getvalue(), statistics(about[0], rows)
