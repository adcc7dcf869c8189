"""The SQL that a pipeline compiles to, for a person to read: a named query a step, an item a line.

The text is what runs: the layers of the compiled query (`flows.steps.layer`), each under its own name instead of
inside of the next, and spaced. Over a table `batch` it gives the rows that the pipeline gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import msgspec

from flows.columns import dotted
from flows.compile import Begun, Plan, compile_pipeline, compile_stage, layers
from flows.config import Stream
from flows.lookups.installed import found_of
from flows.output import rows_query
from flows.shape import Shape, relation
from flows.stateful.equivalent import equivalent
from flows.steps import has_memory
from flows.steps.enrich import Found
from flows.steps.layer import Layer
from flows.trial.spacing import spaced
from flows.trial.steps import name_of, rule_of

_BEGINNING = ("events", "what the steps begin with")


class _Settings(TypedDict):
    """What `flows.compile` is told beside the steps."""

    start: int
    begun: Begun | None
    types: Mapping[str, str]
    mask_key: str | None
    lookups: Mapping[str, Found]


class Explained(msgspec.Struct, frozen=True):
    """`columns` are those after the last step, by dotted path; `warnings` say which expressions are NULL, and why."""

    stream: str
    sql: str
    columns: dict[str, str]
    destinations: tuple[str, ...]
    warnings: tuple[str, ...]


def explain(
    name: str, stream: Stream, shape: Shape, default: str | None, learned: Mapping[int, Shape] | None = None
) -> Explained:
    """The query of the stream called `name` for events of this shape.

    `learned` are the shapes of what `parse` steps found, by step (`flows.stages.Stages.shapes`).
    """
    story = _Story(name, stream, shape, learned or {})
    for index, step in enumerate(stream.steps):
        if has_memory(step):
            story.grow(index)
            story.remember(index)
        elif learned is not None and index in learned:
            story.grow(index)
            story.read(index)
    story.grow(len(stream.steps))
    parts, below, source = story.parts, story.below, story.source
    whole = compile_pipeline(stream.steps, stream.routes, story.columns, default=default, **story.settings)
    if whole.routed:
        parts.append(("routed", "routes: which destinations take the row", _above(below, whole, source)))
        source = "routed"
    rows, _ = rows_query(whole.columns, source, whole.fate_columns)
    rows = rows.removesuffix(f"({source})") + source
    queries = ",\n\n".join(f"-- {_comment(about)}\n{label} AS (\n{spaced(sql, 1)}\n)" for label, about, sql in parts)
    sql = f"WITH\n{queries}\n\n-- the rows as destinations take them\n{spaced(rows, 0)}\n"
    return Explained(
        name,
        sql,
        {dotted(path): kind for path, kind in whole.columns.items() if path[0] in ("event", "metadata")},
        whole.destinations,
        whole.warnings,
    )


class _Story:
    """The queries told so far: (name, what it is about, SQL). `below` is the last of those that run together."""

    def __init__(self, name: str, stream: Stream, shape: Shape, learned: Mapping[int, Shape]) -> None:
        self._stream = stream
        self._learned = learned
        self.source = "parsed"
        sql, self.columns = relation(shape, name, "batch")
        """The columns that what runs together begins with."""
        self.parts = [(self.source, "the events of a batch, a column a path", sql)]
        self.below = Layer(self.columns)
        self.settings = _Settings(
            start=0,
            begun=None,
            types=stream.types,
            mask_key=stream.mask_key,
            lookups=found_of(stream.steps, stream.lookups),
        )

    def grow(self, stop: int) -> None:
        """Tells the steps up to `stop`, without it, in the order in which they are done."""
        begun, start = self.settings["begun"], self.settings["start"]
        last = -1
        for index, layer in layers(self._stream.steps[:stop], self.columns, **self.settings):
            if index is None:
                name, about = (f"after_{start - 1}", "what the steps after it begin with") if start else _BEGINNING
            else:
                name, about = self._title(index)
                if begun is not None and index == begun.step:
                    about = f"{about} (its parts)"
                elif index < last:
                    about = f"{about} (after what drops events and does not look at what is masked)"
                last = max(last, index)
            self._tell(name, about, _above(self.below, layer, self.source))
            self.below = layer

    def remember(self, index: int) -> None:
        """Tells a step with a memory, as what it equals."""
        name, about = self._title(index)
        sql, self.columns = equivalent(
            self._stream.steps[index], self.below.columns, self.source, drops=self.below.drops
        )
        self._tell(name, f"{about} (over all events; it has a memory, and runs beside the query)", sql)
        self.below = Layer(self.columns)
        self.settings["start"], self.settings["begun"] = index + 1, None

    def read(self, index: int) -> None:
        """Tells what a `parse` reads whose parts are known from what was read before."""
        name, about = self._title(index)
        layer = compile_stage(self._stream.steps, index, self.columns, **self.settings)
        self._tell(f"{name}_read", f"{about} (what is read)", _above(self.below, layer, self.source))
        self.below, self.columns = Layer(layer.columns), layer.columns
        self.settings["begun"] = Begun(index, self._learned[index], layer.drops)

    def _title(self, index: int) -> tuple[str, str]:
        step = self._stream.steps[index]
        return f"step_{index}_{name_of(step)}", f"steps[{index}] {name_of(step)}: {rule_of(step)}"

    def _tell(self, name: str, about: str, sql: str) -> None:
        self.parts.append((name, about, sql))
        self.source = name


def _above(below: Plan | Layer, plan: Plan | Layer, source: str) -> str:
    """What `plan` adds to the query `below`, over it under the name `source`."""
    if not plan.before.endswith(below.before) or not plan.after.startswith(below.after):
        raise ValueError("a step's query does not stand on the one below")
    before = plan.before[: len(plan.before) - len(below.before)]
    after = plan.after[len(below.after) :]
    if not before:
        return f"SELECT * FROM {source}"
    if before.endswith("(") and after.startswith(")"):
        before, after = before[:-1], after[1:]
    return before + source + after


def _comment(text: str) -> str:
    return " ".join(text.split())
