"""A pipeline cut in two where its one query is not enough: at a `parse` whose fields must first be learned, or whose
failures go to the dead letters.

The first part of the query fills a temporary table, in the engine and so in its own types; what has to be found out is
found out there; the rest of the pipeline reads on from it. A pipeline without such a step is one query, as ever.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from flows.columns import Columns, column
from flows.compile import Begun, compile_pipeline, compile_stage
from flows.config import Stream
from flows.letters import set_aside
from flows.lookups.installed import Installed
from flows.shape import Shape, Unreadable, first_misfit, learn
from flows.steps import Mask, Parse, Step
from flows.steps.enrich import Found
from flows.steps.layer import DROP, MARKS, Layer
from flows.steps.mask.functions import install_masks
from flows.steps.mask.settings import rules_of
from flows.steps.parse.compiling import VALUE_PATH, failed
from flows.steps.parse.settings import target
from flows.steps.targets import parse_path
from flows.structures import Structures

SET_ASIDE = "dead_letters:parse"
"""Where a processor puts the events that a step has set aside; no destination can have this name."""

PROTECTING: tuple[type[Step], ...] = (Mask,)
"""The steps that an event must pass before anyone sees it, even as a dead letter, in a preview or a tail."""

_COMPILED = 64


class Staging(msgspec.Struct, frozen=True):
    """Where the rest of a pipeline begins: over `source` with its `columns`. `key` tells queries of it apart.

    `lookups` are what `enrich` steps find in this batch. `letters` has `event_id, step, error, index, payload, _offset`
    of the events set aside; None where there are none.
    """

    source: str
    columns: Columns
    key: str
    begun: Begun | None = None
    lookups: Mapping[str, Found] = {}
    letters: pa.Table | None = None


class Stages:
    """The parts of one stream's pipeline before the last, or of its steps from `start` up to `stop`.

    Belongs to one thread.
    """

    def __init__(
        self, name: str, stream: Stream, engine: duckdb.DuckDBPyConnection, *, start: int = 0, stop: int | None = None
    ) -> None:
        self._stream = stream
        self._start = start
        self._engine = engine
        self._prefix = f"stage_{len(name)}_{name}"
        self._stops = [index for index in range(len(stream.steps))[start:stop] if _stops_at(stream.steps[index])]
        self._shapes = {index: Shape() for index in self._stops}
        self._compiled: OrderedDict[tuple[int, str], Layer] = OrderedDict()
        self._lookups = Installed(engine, stream.steps[start:stop], stream.lookups)
        install_masks(engine, stream.steps, stream.mask_key)
        for index in self._stops:
            install_masks(engine, self._masks(index), stream.mask_key)

    def run(self, sql: str, columns: Columns) -> Staging:
        """Runs every part before the last over the rows of the query `sql`."""
        lookups = self._lookups.take()
        staging = Staging(f"({sql})", columns, f"{sql}\n{self._lookups.key}", lookups=lookups)
        letters: list[pa.Table] = []
        for stop in self._stops:
            layer = self._layer(stop, staging)
            table = self._table(stop)
            self._engine.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {layer.before}{staging.source}{layer.after}")
            step = self._stream.steps[stop]
            assert isinstance(step, Parse)
            if step.learned:
                self._learn(stop, step, table)
            if step.on_error == "dead_letter":
                letters += self._letters(stop, step, table, layer)
            shape = self._shapes[stop]
            key = f"{staging.key}\n{stop} {msgspec.json.encode(shape).decode()}"
            staging = Staging(table, layer.columns, key, Begun(stop, shape, layer.drops), lookups)
        together = pa.concat_tables(letters).sort_by("_offset") if letters else None
        return msgspec.structs.replace(staging, letters=together)

    @cached_property
    def _listed(self) -> Structures:
        return Structures(self._engine)

    @property
    def shapes(self) -> dict[int, Shape]:
        """What has been learned of the documents of each step that the pipeline is cut at."""
        return dict(self._shapes)

    def clear(self) -> None:
        """Lets go of the batch."""
        for stop in self._stops:
            self._engine.execute(f"DROP TABLE IF EXISTS {self._table(stop)}")

    def _table(self, stop: int) -> str:
        return '"' + f"{self._prefix}_{stop}" + '"'

    def _layer(self, stop: int, staging: Staging) -> Layer:
        layer = self._compiled.get((stop, staging.key))
        if layer is None:
            layer = compile_stage(
                self._stream.steps,
                stop,
                staging.columns,
                start=self._start,
                begun=staging.begun,
                types=self._stream.types,
                mask_key=self._stream.mask_key,
                lookups=staging.lookups,
            )
            self._compiled[stop, staging.key] = layer
            if len(self._compiled) > _COMPILED:
                self._compiled.popitem(last=False)
        return layer

    def _learn(self, stop: int, step: Parse, table: str) -> None:
        """Widens the step's shape until the batch's documents fit; one that cannot be read after all has failed."""
        value = column(VALUE_PATH)
        lines = self._engine.sql(f"SELECT rowid, {value} FROM {table} WHERE {value} IS NOT NULL").to_arrow_table()
        unreadable = self._fit(stop, step, lines)
        if unreadable:
            bad = ", ".join(map(str, unreadable))
            self._engine.execute(
                f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT * REPLACE"
                f" (CASE WHEN rowid NOT IN ({bad}) THEN {value} END AS {value},"
                f" {column(failed(stop))} OR rowid IN ({bad}) AS {column(failed(stop))}) FROM {table}"
            )

    def _fit(self, stop: int, step: Parse, lines: pa.Table) -> list[int]:
        """The rows, by their number, of documents that cannot be read, found by halving."""
        if not lines.num_rows:
            return []
        texts = lines.column(1)
        together = pa.ListArray.from_arrays([0, lines.num_rows], texts.combine_chunks())
        ndjson = pc.binary_join(together, "\n")[0].as_buffer().to_pybytes()
        try:
            if first_misfit(self._shapes[stop], ndjson) is not None:
                self._shapes[stop] = learn(self._shapes[stop], texts, ndjson, self._listed, self._types(step))
        except Unreadable:
            if lines.num_rows == 1:
                return [int(lines.column(0)[0].as_py())]
            middle = lines.num_rows // 2
            return self._fit(stop, step, lines.slice(0, middle)) + self._fit(stop, step, lines.slice(middle))
        return []

    def _types(self, step: Parse) -> dict[str, str]:
        above = ".".join(target(step)).lower() + "."
        return {path: kind for path, kind in self._stream.types.items() if path.lower().startswith(above)}

    def _letters(self, stop: int, step: Parse, table: str, layer: Layer) -> list[pa.Table]:
        """The events whose text could not be read, as they are at this step, after what protects them later on."""
        kept = f"{column(failed(stop))}" + (f" AND {DROP} IS NULL" if layer.drops else "")
        if not self._engine.execute(f"SELECT count(*) FROM {table} WHERE {kept}").fetchall()[0][0]:
            return []
        columns = {
            path: kind for path, kind in layer.columns.items() if path != VALUE_PATH and not path[0].startswith(MARKS)
        }
        plan = compile_pipeline(self._masks(stop), (), columns, mask_key=self._stream.mask_key)
        error = (
            f"{step.field} does not match the pattern" if step.pattern else f"{step.field} cannot be read as {step.as_}"
        )
        events = plan.sql(f"(SELECT * FROM {table} WHERE {kept})")
        return [set_aside(self._engine, events, plan.columns, f"steps[{stop}].parse", error)]

    def _masks(self, stop: int) -> list[Step]:
        """The masks that an event set aside at `stop` must pass before anyone sees it, even as a dead letter.

        The text that could not be read may hold what a mask would have found among its parts: unless the text has a
        mask of its own, it is not shown.
        """
        parse = self._stream.steps[stop]
        assert isinstance(parse, Parse)
        masks: list[Step] = [step for step in self._stream.steps[stop + 1 :] if isinstance(step, PROTECTING)]
        reached = [rules_of(step) for step in masks if isinstance(step, Mask)]
        if any(rules.at(target(parse)).left for rules in reached):
            field = parse_path(parse.field)
            if field[0] in ("event", "metadata") and not any(rules.at(field).kind for rules in reached):
                masks.append(Mask({parse.field: "redact"}))
        return masks


def _stops_at(step: Step) -> bool:
    return isinstance(step, Parse) and (step.learned or step.on_error == "dead_letter")
