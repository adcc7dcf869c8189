"""The bytes of a CSV, JSON, NDJSON or Parquet file as a table to look up in.

A half-written file is refused, not taken for a smaller one: JSON must be whole, every row of a CSV as long as its header,
a Parquet file must have its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from flows.columns import Path, quoted
from flows.lookups.csv import read_csv
from flows.lookups.keyed import KeyedTable
from flows.lookups.settings import Lookup
from flows.lookups.table import Leaf, LookupFailed, below, named
from flows.steps.enrich import key_text
from flows.steps.results import leaves as held_leaves

_LINES = 20_000  # of NDJSON read at once, so that other threads get their turn


class Read(msgspec.Struct, frozen=True):
    """A table, and how many rows of its file it leaves out: `unkeyed` had no key, `repeated` a key that comes again."""

    table: KeyedTable
    unkeyed: int
    repeated: int


def read_keyed(lookup: Lookup, content: bytes) -> Read:
    """The rows of a file's `content` by their key. Raises LookupFailed with what is wrong with it."""
    assert lookup.key is not None
    connection = duckdb.connect(
        ":memory:",
        config={"threads": 1, "autoinstall_known_extensions": False, "autoload_known_extensions": False},
    )
    with connection:
        connection.execute("SET TimeZone = 'UTC'")
        try:
            _load(connection, lookup, content)
            return _keyed(connection, lookup.key)
        except (duckdb.OutOfMemoryException, MemoryError) as exc:
            raise LookupFailed("it does not fit into memory", remedy="keep only the columns that are used") from exc
        except duckdb.Error as exc:  # its text may quote a row
            reason = "two columns differ only in case, or a value is out of bounds"
            raise LookupFailed(f"its rows do not make a table: {reason}") from exc
        except UnicodeDecodeError as exc:
            raise LookupFailed("it has a byte that is not UTF-8", remedy="save it as UTF-8") from exc
        except pa.ArrowException as exc:
            raise LookupFailed(f"it cannot be read as {lookup.format}: {_first_line(exc)}") from exc


def json_rows(content: bytes, *, lines: bool) -> Iterator[list[bytes]]:
    """The JSON text of each row, some at a time. Raises LookupFailed where the file is not whole."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        if not lines:
            if content.lstrip()[:1] != b"[":
                raise LookupFailed("it is no JSON array of objects", remedy="one object a line is .ndjson")
            yield [bytes(row) for row in msgspec.json.decode(content, type=list[msgspec.Raw])]
            return
        number = 0
        split = content.split(b"\n")
        for start in range(0, len(split), _LINES):
            rows = []
            for number, line in enumerate(split[start : start + _LINES], start + 1):  # noqa: B007 -- told in the error
                if line.strip():
                    rows.append(bytes(msgspec.json.decode(line, type=msgspec.Raw)))
            yield rows
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        where = f"line {number}: " if lines else ""
        raise LookupFailed(f"{where}{_first_line(exc)}") from None


def _load(connection: duckdb.DuckDBPyConnection, lookup: Lookup, content: bytes) -> None:
    """Makes the table `rows`."""
    if lookup.format == "csv":
        assert lookup.key is not None
        _fill(connection, read_csv(content, lookup.key))
    elif lookup.format == "parquet":
        _fill(connection, pq.read_table(pa.BufferReader(content)))
    else:
        texts = [
            pa.array([row.decode() for row in rows], pa.string())
            for rows in json_rows(content, lines=lookup.format == "ndjson")
        ]
        connection.register("file", pa.table({"row": pa.chunked_array(texts, pa.string())}))
        structure = _one(connection, "SELECT json_group_structure(row::JSON)::VARCHAR FROM file")
        shape = msgspec.json.decode(structure) if structure else {}
        if structure and not isinstance(shape, dict):
            raise LookupFailed("a row is no JSON object", remedy="write an object a row")
        connection.execute(
            f"CREATE TEMP TABLE rows AS SELECT unnest(json_transform(row::JSON, {_text(structure)})) FROM file"
            if shape
            else "CREATE TEMP TABLE rows AS SELECT NULL::VARCHAR AS nothing LIMIT 0"
        )
        connection.unregister("file")


def _fill(connection: duckdb.DuckDBPyConnection, table: pa.Table) -> None:
    connection.register("file", table)
    connection.execute("CREATE TEMP TABLE rows AS SELECT * FROM file")
    connection.unregister("file")


def _keyed(connection: duckdb.DuckDBPyConnection, key: str) -> Read:
    columns = connection.execute("SELECT * FROM rows LIMIT 0").description
    held = [leaf for name, kind, *_ in columns for leaf in _leaves(connection, name, str(kind))]
    at = [leaf for leaf, _ in held if leaf in below(key, [leaf for leaf, _ in held])]
    if len(at) != 1:
        known = ", ".join(named([leaf for leaf, _ in held])[:20]) or "none"
        raise LookupFailed(f"it has no column {key!r}", remedy=f"its columns: {known}")
    sql = next(sql for leaf, sql in held if leaf == at[0])
    kept = connection.sql(
        f"SELECT k, hash(k) AS h, max(place) AS place, count(*) AS rows FROM"
        f" (SELECT {key_text(sql, at[0].type)} AS k, rowid AS place FROM rows) WHERE k IS NOT NULL GROUP BY k ORDER BY h"
    ).to_arrow_table()
    total = int(_one(connection, "SELECT count(*) FROM rows"))
    with_key = int(kept.column("rows").to_numpy().sum())
    alone = len(held) == 1
    leaves = [Leaf(leaf.path, leaf.type, leaf != at[0] or alone) for leaf, _ in held]
    stored = ", ".join(f"CAST({sql} AS {leaf.stored}) AS {quoted(f'c{n}')}" for n, (leaf, sql) in enumerate(held))
    values = connection.sql(f"SELECT {stored} FROM rows").to_arrow_table()
    place = kept.column("place").combine_chunks()
    taken = [column.combine_chunks().take(place) for column in values.columns]
    keys, hashes = (kept.column(name).combine_chunks() for name in ("k", "h"))
    return Read(KeyedTable(keys, hashes, leaves, taken), total - with_key, with_key - kept.num_rows)


def _leaves(connection: duckdb.DuckDBPyConnection, name: str, kind: str) -> Iterator[tuple[Leaf, str]]:
    """Each leaf of a column with its SQL; one whose type an event cannot hold exactly is held as its text."""
    for path, sql, held in held_leaves(quoted(name), kind):
        where: Path = (name, *path)
        if sql.startswith("TRY_CAST("):
            raw = sql.removeprefix("TRY_CAST(").removesuffix(f" AS {held})")
            if _one(connection, f"SELECT count(*) FROM rows WHERE {raw} IS NOT NULL AND {sql} IS NULL"):
                yield Leaf(where, "VARCHAR"), f"CAST({raw} AS VARCHAR)"
                continue
        yield Leaf(where, held), sql


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    return connection.execute(query).fetchall()[0][0]


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or ["it is broken"])[0][:200]
