"""`headrace preview`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.terminal import DEFAULT_CONFIG, AsJson, ConfigFile, print_json, say

if TYPE_CHECKING:
    from flows.trial import EventTrace


def preview(
    stream: Annotated[str, typer.Argument(help="The stream, by name.")],
    file: Annotated[Path | None, typer.Option("--input", help="Events, one JSON object a line.")] = None,
    last: Annotated[int | None, typer.Option(min=1, max=10_000, help="The log's last N events of the stream.")] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Events and bytes each step takes away, and no more.")
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show what each step of a pipeline does to each event, and where it would go. Nothing is written.

    What a mask hides is shown masked at every step.

    \b
    Example:
      headrace preview payments --input events.ndjson
      headrace preview payments --last 5 --json
      headrace preview payments --last 10000 --summary
    """
    from flows.config import load
    from flows.trial import Tracer, savings
    from headrace.savings import print_savings, savings_rows
    from headrace.trying import lines_to_try, one_of, quiet, stream_named

    one_of(file, last)
    quiet()
    loaded = load(config)
    settings = stream_named(loaded, stream)
    lines, numbers = lines_to_try(loaded, settings, file, last or 0)
    traces: list[EventTrace] = []
    if lines is None:
        say(f"headrace: the log holds no event of the stream '{stream}'")
    else:
        tracer = Tracer(stream, settings, loaded.default)
        try:
            traces = tracer.trace(lines)
        finally:
            tracer.close()
    if summary:
        found = savings(traces)
        if as_json:
            print_json(savings_rows(found))
        else:
            print_savings(found)
    elif as_json:
        print_json([_row(trace, numbers) for trace in traces])
    else:
        _print(traces, numbers)


def _row(trace: EventTrace, numbers: list[int]) -> dict[str, Any]:
    import msgspec

    from flows.trial.flat import nested

    row: dict[str, Any] = {"event_id": trace.event_id}
    if numbers:
        row["line"] = numbers[trace.number]
    if trace.error is not None:
        return {**row, "result": "unreadable", "error": trace.error, "steps": [], "to": ["dead_letters"]}
    steps = [msgspec.structs.asdict(step) for step in trace.steps]
    for step in steps:
        step["changes"] = [msgspec.structs.asdict(change) for change in step["changes"]]
    return {
        **row,
        "result": "kept" if trace.dropped_by is None else steps[-1]["result"],
        "dropped_by": trace.dropped_by,
        "input": nested(trace.input),
        "steps": steps,
        "to": list(trace.to),
        "unmatched": trace.unmatched,
        "output": nested(trace.output) if trace.dropped_by is None else None,
    }


def _print(traces: list[EventTrace], numbers: list[int]) -> None:
    import orjson
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)

    def line(text: str, style: str = "") -> None:
        console.print(Text(text, style=style))

    def shown(value: Any) -> str:
        return "(absent)" if value is None else orjson.dumps(value, default=str).decode()

    for trace in traces:
        place = f"line {numbers[trace.number]}" if numbers else trace.event_id
        line(f"{place}  {trace.input.get('source', '')}", "bold")
        if trace.error is not None:
            line(f"  no event: {trace.error} → dead_letters", "red")
            continue
        for step in trace.steps:
            head = f"  steps[{step.step}] {step.name}"
            if step.result == "dropped":
                line(f"{head}: dropped by {step.rule}", "red")
                continue
            if step.result == "dead_letter":
                line(f"{head}: set aside by {step.rule} → dead_letters", "red")
                continue
            failed = (
                " (its text could not be read)" if step.failed else " (the lookup has nothing)" if step.missed else ""
            )
            line(f"{head}: {step.result}{failed}", "yellow" if step.changes or step.failed else "")
            for change in step.changes:
                line(f"    {change.path}: {shown(change.before)} → {shown(change.after)}")
        if trace.dropped_by is None:
            default = " (the default: no route takes it)" if trace.unmatched else ""
            line(f"  → {', '.join(trace.to) or 'nowhere'}{default}", "green" if trace.to else "red")
