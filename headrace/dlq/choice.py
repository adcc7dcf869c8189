"""Which dead letters a command means: an expression over the columns of their table, and simpler filters.

An expression is written anew from what `flows.expression` knows, as any other of a user's: it reads nothing but a letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from connectors.errors import HeadraceError
from connectors.sinks.dead_letters import SCHEMA
from flows.columns import Path
from flows.expression import check, compile_expression

if TYPE_CHECKING:
    from deltalake import DeltaTable

_TYPES = {"int64": "BIGINT", "string": "VARCHAR"}
COLUMNS: dict[Path, str] = {
    (field.name,): "JSON" if field.name == "payload" else _TYPES.get(str(field.type), "TIMESTAMP WITH TIME ZONE")
    for field in SCHEMA
}
"""What an expression can read, by its type."""

_ROOTS = frozenset(path[0] for path in COLUMNS)

_ORDER = '"received_at" NULLS FIRST, "partition", "offset", "index"'


class Choice(msgspec.Struct, frozen=True):
    """Letters for which `where` is true, of one stream or event, at most so many: those received first."""

    where: str | None = None
    stream: str | None = None
    event_id: str | None = None
    limit: int | None = None


def refuse_bad(where: str | None) -> None:
    """Raises HeadraceError with what is wrong with the expression."""
    if where is None:
        return
    for problem in check(where, roots=_ROOTS):
        remedy = problem.suggestion or ""
        if not remedy and re.search(r'(?<!")\boffset\b(?!")', where, re.IGNORECASE):
            remedy = 'OFFSET is a word of SQL: write "offset" for the column'
        raise HeadraceError(f"--where, character {problem.offset + 1}: {problem.message}", remedy=remedy)
    compiled = compile_expression(where, COLUMNS, condition=True, roots=_ROOTS)
    if compiled.warning:
        raise HeadraceError(f"--where: {compiled.warning}", remedy="compare values of one type")


def chosen(table: DeltaTable, choice: Choice, rows: int, *, ordered: bool = False) -> Iterator[pa.Table]:
    """The letters, as `SCHEMA` has them, of the table as it is now: at most `rows` of them at a time.

    They come in no order unless it is asked for; of a `limit` they are the first in order.
    """
    from flows.engine import open_engine

    present = [field.name for field in table.schema().fields]
    columns = [name for name in SCHEMA.names if name in present]
    reader = pa.RecordBatchReader.from_stream(table.scan(columns=columns))
    engine = open_engine()
    try:
        engine.register("letters", reader)
        found = engine.sql(_query(columns, choice, ordered=ordered)).to_arrow_reader(rows)
        for batch in found:
            if batch.num_rows:
                yield pa.Table.from_batches([batch]).cast(SCHEMA)
    finally:
        engine.close()


def _query(columns: list[str], choice: Choice, *, ordered: bool) -> str:
    from flows.columns import literal

    conditions = []
    if choice.where is not None:
        conditions.append(compile_expression(choice.where, COLUMNS, condition=True, roots=_ROOTS).sql)
    for name, value in (("stream", choice.stream), ("event_id", choice.event_id)):
        if value is not None:
            conditions.append(f'"{name}" = {literal(value)}')
    missing = "".join(f", CAST(NULL AS {COLUMNS[name,]}) AS {name}" for name in SCHEMA.names if name not in columns)
    # A payload that is no JSON (a line that somebody else wrote) is a text to JSON.
    json = "CAST(CASE WHEN json_valid(payload) THEN payload ELSE CAST(to_json(payload) AS VARCHAR) END AS JSON)"
    letters = f"SELECT * EXCLUDE (payload), payload AS _payload, {json} AS payload{missing} FROM letters"
    listed = ", ".join("_payload AS payload" if name == "payload" else f'"{name}"' for name in SCHEMA.names)
    query = f"SELECT {listed} FROM ({letters})"
    if conditions:
        query += " WHERE " + " AND ".join(f"({one})" for one in conditions)
    if ordered or choice.limit is not None:
        query += f" ORDER BY {_ORDER}"
    return query if choice.limit is None else f"{query} LIMIT {choice.limit}"
