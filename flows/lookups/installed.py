"""The lookups of a stream as functions of a connection: (hash of a text, the text) → a struct of what was found.

A function is of one generation and one choice of columns, and its name says which: a query that was compiled for a
generation cannot meet another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import partial

import duckdb
import pyarrow as pa

from flows.columns import literal
from flows.lookups.settings import Lookup
from flows.lookups.table import Leaf, Table, struct_type
from flows.lookups.watched import Watched, watch
from flows.steps.enrich import Enrich, Found


def found_of(steps: Iterable[object], lookups: Mapping[str, Lookup]) -> dict[str, Found]:
    """What the newest generations give to the `enrich` steps among `steps`, by `Enrich.asks`. Raises LookupFailed."""
    return {step.asks: _found(step, watch(step.lookup, lookups[step.lookup]))[0] for step in _enriching(steps)}


class Installed:
    """The functions that `steps` call, on `engine`; belongs to its thread. Raises LookupFailed."""

    def __init__(
        self, engine: duckdb.DuckDBPyConnection, steps: Iterable[object], lookups: Mapping[str, Lookup]
    ) -> None:
        self._engine = engine
        self._steps = _enriching(steps)
        self._watched = {step.lookup: watch(step.lookup, lookups[step.lookup]) for step in self._steps}
        self._found: dict[str, Found] = {}

    def take(self) -> Mapping[str, Found]:
        """What the newest generations give, by `Enrich.asks`, to be called between two batches."""
        for step in self._steps:
            found, leaves, table = _found(step, self._watched[step.lookup])
            had = self._found.get(step.asks)
            if had is None or had.function != found.function:
                self._install(found.function, leaves, table)
                self._found[step.asks] = found
        return self._found

    @property
    def key(self) -> str:
        """What tells queries of these generations from others."""
        return " ".join(found.function for found in self._found.values())

    def _install(self, function: str, leaves: list[Leaf], table: Table) -> None:
        """Puts `function` in the place of those of older generations, so that their tables can go."""
        stem = function.rpartition(":")[0]
        query = f"SELECT function_name FROM duckdb_functions() WHERE starts_with(function_name, {literal(stem + ':')})"
        known = {name for (name,) in self._engine.execute(query).fetchall()}
        for old in known - {function}:
            self._engine.remove_function(old)
        if function not in known:
            self._engine.create_function(
                function,
                partial(_find, table, leaves),
                ["UBIGINT", "VARCHAR"],
                struct_type(leaves),
                type="arrow",
                null_handling="special",
            )


def _find(table: Table, leaves: list[Leaf], hashes: pa.ChunkedArray, texts: pa.ChunkedArray) -> pa.StructArray:
    return table.find(hashes, texts, leaves)


def _enriching(steps: Iterable[object]) -> list[Enrich]:
    return [step for step in steps if isinstance(step, Enrich)]


def _found(step: Enrich, watched: Watched) -> tuple[Found, list[Leaf], Table]:
    number, table = watched.current
    missing = tuple(field for field in step.fields if not table.chosen(field))
    chosen = [leaf for field in step.fields for leaf in table.chosen(field)]
    leaves = list(dict.fromkeys(chosen if step.fields else [leaf for leaf in table.leaves if leaf.usual]))
    said = "\0".join([str(watched.settings.file), str(watched.settings.key), *step.fields])
    choice = hashlib.sha256(said.encode()).hexdigest()[:8]
    function = f"lookup:{step.lookup}:{choice}:{number}"
    return Found(function, tuple((leaf.path, leaf.type) for leaf in leaves), missing), leaves, table
