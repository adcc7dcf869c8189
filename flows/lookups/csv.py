"""CSV for lookups: the delimiter that its header shows, and numbers only where every text keeps its value."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from flows.lookups.table import LookupFailed

_DELIMITERS = ",;\t|"
_HEADER = 1_000_000  # characters that the header is looked for in
_INTEGER = "^(0|-?[1-9][0-9]{0,17})$"
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?$"
_EXACT = r"^-?([0-9]{1,15}|[0-9.]{3,16})$"  # at most 15 digits: a double keeps them


def read_header(text: str, key: str | None) -> tuple[list[str], str]:
    """(names of the columns, delimiter): of `, ; tab |` the one that makes `key` a column, else the one with most."""
    read = [(_first_row(text, delimiter), delimiter) for delimiter in _DELIMITERS]
    return max(read, key=lambda found: (key in found[0], len(found[0])))


def read_csv(content: bytes, key: str) -> pa.Table:
    """The rows of a CSV file with a header: the key as text, an empty cell NULL. Raises LookupFailed."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content[: exc.start].count(b"\n") + 1
        raise LookupFailed(f"line {line} has a byte that is not UTF-8", remedy="save it as UTF-8") from None
    if content.count(b'"') % 2:
        raise LookupFailed("a quote is opened and never closed", remedy="close it; a quote within quotes is doubled")
    names, delimiter = read_header(text[:_HEADER], key)
    if not any(names):
        raise LookupFailed("it has no header", remedy="name the columns in its first line")
    seen: set[str] = set()
    for name in names:
        if name and name.lower() in seen:
            raise LookupFailed(f"its header has the column {name!r} twice", remedy="give each column its own name")
        seen.add(name.lower())
    table = _parsed(content, names, delimiter)
    columns = {name: table.column(name) for name in names if name}  # what has no name is an index that pandas wrote
    return pa.table({name: column if name == key else typed(column) for name, column in columns.items()})


def typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts as integers, doubles or booleans where each of them can be had back from its value; else as they are."""
    distinct = pc.unique(column.drop_null())
    if not len(distinct):
        return column
    if _all(distinct, _INTEGER):
        return column.cast(pa.int64())
    if _all(distinct, _NUMBER) and _all(distinct, _EXACT) and not pc.any(pc.equal(distinct, "-0")).as_py():
        return column.cast(pa.float64())
    if pc.all(pc.is_in(distinct, pa.array(["true", "false"]))).as_py():
        return pc.equal(column, "true")
    return column


def _parsed(content: bytes, names: list[str], delimiter: str) -> pa.Table:
    odd: list[tuple[int | None, int]] = []

    def note(row: pa.csv.InvalidRow) -> str:
        odd.append((row.number, row.actual_columns))
        return "error"

    labels = [name or f"\0{number}" for number, name in enumerate(names)]
    try:
        return pa.csv.read_csv(
            pa.BufferReader(content),
            read_options=pa.csv.ReadOptions(use_threads=False, column_names=labels, skip_rows_after_names=1),
            parse_options=pa.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note, ignore_empty_lines=True
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(labels, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
            ),
        )
    except pa.ArrowInvalid:  # its text quotes the row
        if odd:
            number, count = odd[0]
            where = f"row {number}" if number is not None else "a row"
            what = f"{where} has {count} columns, the header {len(names)}"
            raise LookupFailed(what, remedy=f"quote values that hold {delimiter!r}") from None
        raise LookupFailed("it cannot be read as CSV") from None


def _first_row(text: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    except csv.Error:
        return []


def _all(texts: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(texts, pattern)).as_py())
