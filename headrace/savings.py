"""How `headrace preview --summary` tells what a pipeline saves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.trial import Savings, StepSavings


def savings_rows(found: Savings) -> list[dict[str, Any]]:
    """One row a step, one for the pipeline, one a destination; `kind` tells them apart."""
    import msgspec

    whole = {name: getattr(found, name) for name in ("events_in", "events_out", "bytes_in", "bytes_out")}
    return [
        *({"kind": "step", **msgspec.structs.asdict(step)} for step in found.steps),
        {"kind": "pipeline", **whole},
        *(
            {"kind": "destination", "name": name, "events": events, "bytes": size}
            for name, (events, size) in sorted(found.to.items())
        ),
    ]


def print_savings(found: Savings) -> None:
    """A table for a person: a line a step, the pipeline, and where the rest goes."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    table.add_column("step")
    for heading in ("events in", "events out", "bytes in", "bytes out", "saved"):
        table.add_column(heading, justify="right")
    lines: list[tuple[str, StepSavings | Savings]] = [(f"steps[{step.step}] {step.name}", step) for step in found.steps]
    lines.append(("all", found))
    for name, row in lines:
        counts = (row.events_in, row.events_out, row.bytes_in, row.bytes_out)
        saved = f"{1 - row.bytes_out / row.bytes_in:.1%}" if row.bytes_in else "-"
        table.add_row(name, *(f"{count:,}" for count in counts), saved)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    for name, (events, size) in sorted(found.to.items()):
        console.print(f"→ {name}: {events:,} events, {size:,} bytes", markup=False)
