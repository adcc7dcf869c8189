"""`headrace tail`."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connectors.errors import HeadraceError
from headrace.terminal import DEFAULT_CONFIG, AsJson, ConfigFile, announce, say

if TYPE_CHECKING:
    from connectors.batch import StreamLines
    from flows.trial import EventTrace, Tracer

_PAUSE = 0.2  # seconds between looks at a log with nothing new
_AT_ONCE = 1000  # events traced together


class Stage(StrEnum):
    """What of the pipeline an event has behind it when it is shown."""

    raw = "raw"
    out = "out"


def tail(
    stream: Annotated[str, typer.Argument(help="The stream, by name.")],
    where: Annotated[str, typer.Option(help="Only events for which this SQL expression is true.")] = "",
    stage: Annotated[Stage, typer.Option(help="Events as they came, or as they leave the pipeline.")] = Stage.out,
    last: Annotated[int, typer.Option(min=0, max=100_000, help="Begin with the log's last N events.")] = 10,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on with what comes, until Ctrl-C.")] = True,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show a stream's events from the log, live, as they come or as they leave the pipeline.

    What a mask hides is shown masked at either stage. With --json each line is one JSON object. The events of a stream with
    a window or a throttled sample are shown when they leave it, computed as the dataflow computes them: the log is read from
    as far before the first of them as the window reaches back.

    \b
    Example:
      headrace tail payments --where "event.status = 'declined'"
    """
    from flows.config import load
    from flows.expression import check
    from flows.steps import has_memory
    from flows.trial import Tracer
    from headrace.remembered import remembered
    from headrace.trying import last_lines, quiet, stream_named

    quiet()
    loaded = load(config)
    settings = stream_named(loaded, stream)
    for problem in check(where) if where else []:
        raise HeadraceError(
            f"--where, character {problem.offset + 1}: {problem.message}", remedy=problem.suggestion or ""
        )
    if stage is Stage.out and any(has_memory(step) for step in settings.steps):
        since, traces = remembered(loaded, stream, where or None, last, follow=follow)
        say(
            f"headrace: the stream '{stream}' remembers (window, throttled sample): it is computed over what the log holds from"
            f" {_written(since)} on, and an event is shown once nothing more can come that counts for it"
        )
        for trace in traces:
            announce(_line(trace, stage, as_json=as_json))
            sys.stdout.flush()
        return
    tracer = Tracer(stream, settings, loaded.default)
    try:
        lines, ends = last_lines(loaded, settings, last)
        if lines is not None:
            _show(tracer, lines, where, stage, as_json=as_json)
        elif not follow:
            say(f"headrace: the log holds no event of the stream '{stream}'")
        if follow:
            for more in _following(loaded, settings.id, ends):
                _show(tracer, more, where, stage, as_json=as_json)
    finally:
        tracer.close()


def _written(instant: int) -> str:
    """A time in UTC microseconds for a person, to the second."""
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(instant // 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _following(config: Any, stream_id: str, ends: dict[int, int]) -> Any:
    """The events of the stream that are appended from `ends` on, for ever."""
    import time

    from connectors.batch import batch_of
    from connectors.log import open_log
    from connectors.log.last import following

    log = open_log(config.log)
    try:
        for blocks in following(log, ends):
            for block in blocks:
                yield from (part for part in batch_of(block).streams if part.stream == stream_id)
            if not blocks:
                time.sleep(_PAUSE)
    finally:
        log.close()


def _show(tracer: Tracer, lines: StreamLines, where: str, stage: Stage, *, as_json: bool) -> None:
    import msgspec

    for start in range(0, lines.table.num_rows, _AT_ONCE):
        table = lines.table.slice(start, _AT_ONCE)
        part = msgspec.structs.replace(lines, table=table, ndjson="\n".join(table["line"].to_pylist()).encode())
        for trace in tracer.trace(part, where=where or None, raw=stage is Stage.raw):
            if trace.error is None and trace.selected and (stage is Stage.raw or trace.dropped_by is None):
                announce(_line(trace, stage, as_json=as_json))
    sys.stdout.flush()


def _line(trace: EventTrace, stage: Stage, *, as_json: bool) -> str:
    import orjson

    from flows.trial.flat import nested

    fields = nested(trace.input if stage is Stage.raw else trace.output)
    if as_json:
        to = {} if stage is Stage.raw else {"to": list(trace.to)}
        return orjson.dumps({"event_id": trace.event_id, **fields, **to}, default=str).decode()
    at, source = fields.pop("timestamp", ""), fields.pop("source", "")
    fields.pop("received_at", None)
    to_ = "" if stage is Stage.raw else f" → {', '.join(trace.to) or 'nowhere'}"
    return f"{at} {source}{to_} {orjson.dumps(fields, default=str).decode()}"
