"""`headrace explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace.terminal import DEFAULT_CONFIG, AsJson, ConfigFile, announce, print_json, say

_LOOKED_AT = 1000


def explain(
    stream: Annotated[str, typer.Argument(help="The stream, by name.")],
    file: Annotated[
        Path | None, typer.Option("--input", help="Events, one JSON object a line (default: the log's last ones).")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Print the SQL that a stream's pipeline compiles to, a named query a step.

    Columns and casts follow from the events: those of --input, else the last ones in the log, else none.

    \b
    Example:
      headrace explain payments --input events.ndjson
    """
    import msgspec
    import pyarrow as pa

    from connectors.errors import Transient
    from flows.bounds import bounded_trial
    from flows.config import load
    from flows.processor import open_pipeline_engine
    from flows.shape import Shape, learn, relation
    from flows.stages import Stages
    from flows.steps import has_memory
    from flows.structures import Structures
    from flows.trial import explain as explained_of
    from flows.trial.lines import no_event
    from flows.trial.steps import somewhere_in
    from headrace.trying import lines_to_try, quiet, stream_named

    quiet()
    loaded = load(config)
    settings = stream_named(loaded, stream)
    shape, used = Shape(), 0
    learned: dict[int, Shape] = {}
    try:
        lines, _ = lines_to_try(loaded, settings, file, _LOOKED_AT)
    except Transient as exc:  # the query is there without a log; only the types of columns are not
        say(f"headrace: compiled without events: {exc}")
        lines = None
    if lines is not None:
        good = [no_event(text) is None for text in lines.table["line"].to_pylist()]
        texts = lines.table["line"].filter(pa.array(good)).to_pylist()
        used = len(texts)
        if texts:
            with bounded_trial(lambda: somewhere_in(stream)), open_pipeline_engine() as engine:
                column = pa.chunked_array([pa.array(texts, pa.string())])
                shape = learn(shape, column, "\n".join(texts).encode(), Structures(engine), settings.types)
                engine.register("batch", lines.table.filter(pa.array(good)))
                remembers = (index for index, step in enumerate(settings.steps) if has_memory(step))
                stages = Stages(stream, settings, engine, stop=next(remembers, None))
                stages.run(*relation(shape, stream, "batch"))
                learned = stages.shapes
    with bounded_trial(lambda: somewhere_in(stream)):
        found = explained_of(stream, settings, shape, loaded.default, learned)
    if as_json:
        print_json({**msgspec.to_builtins(found), "events": used})
        return
    announce(f"-- {stream}: compiled for the shape of {used} event{'' if used == 1 else 's'}")
    announce(f"-- destinations: {', '.join(found.destinations) or 'none'}")
    announce(found.sql.rstrip())
    for warning in found.warnings:
        say(f"warning: NULL for every event of this shape: {warning}")
