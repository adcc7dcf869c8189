"""The SQL that a pipeline compiles to, for a person to read: a named query a step, an item a line.

The text is what runs: the layers of the compiled query (`flows.steps.layer`), each under its own name instead of
inside of the next, and spaced. Over a table `batch` it gives the rows that the pipeline gives.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flows.columns import dotted
from flows.compile import Begun, Plan, compile_pipeline, compile_stage
from flows.config import Stream
from flows.lookups.installed import found_of
from flows.output import rows_query
from flows.shape import Shape, relation
from flows.stateful.equivalent import equivalent
from flows.steps import has_memory
from flows.steps.layer import Layer
from flows.trial.spacing import spaced
from flows.trial.steps import name_of, rule_of

_SOURCE = "events"


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
    lookups = found_of(stream.steps, stream.lookups)
    parsed, columns = relation(shape, name, "batch")
    parts = [("parsed", "the events of a batch, a column a path", parsed)]
    below: Plan | Layer = compile_pipeline((), (), columns, default="out")
    parts.append((_SOURCE, "what the steps begin with", f"{below.before}parsed{below.after}"))
    source, begun, start, drops = _SOURCE, None, 0, False
    for index, step in enumerate(stream.steps):
        about = f"steps[{index}] {name_of(step)}: {rule_of(step)}"
        label = f"step_{index}_{name_of(step)}"
        if has_memory(step):
            sql, columns = equivalent(step, below.columns, source, drops=drops)
            parts.append((label, f"{about} (over all events; it has a memory, and runs beside the query)", sql))
            below = compile_pipeline((), (), columns, default="out")
            source = f"after_{index}"
            parts.append((source, "what the steps after it begin with", f"{below.before}{label}{below.after}"))
            begun, start, drops = None, index + 1, False
            continue
        if learned is not None and index in learned:
            read = compile_stage(
                stream.steps,
                index,
                columns,
                start=start,
                begun=begun,
                types=stream.types,
                mask_key=stream.mask_key,
                lookups=lookups,
            )
            parts.append((f"{label}_read", f"{about} (what is read)", _above(below, read, source)))
            below, source, columns = Layer(read.columns), f"{label}_read", read.columns
            begun, about = Begun(index, learned[index], read.drops), f"{about} (its parts)"
        plan = compile_pipeline(
            stream.steps[: index + 1],
            (),
            columns,
            default="out",
            start=start,
            begun=begun,
            types=stream.types,
            mask_key=stream.mask_key,
            lookups=lookups,
        )
        parts.append((label, about, _above(below, plan, source)))
        below, source, drops = plan, label, plan.drops
    whole = compile_pipeline(
        stream.steps,
        stream.routes,
        columns,
        default=default,
        start=start,
        begun=begun,
        types=stream.types,
        mask_key=stream.mask_key,
        lookups=lookups,
    )
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
