"""`headrace stats`."""

from __future__ import annotations

from headrace.terminal import DEFAULT_CONFIG, AsJson, ConfigFile, announce, print_json


def stats(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show what has landed, and how far the dataflow is behind the log.

    \b
    Example:
      headrace stats --json
    """
    from flows.config import load
    from headrace.measures import measure_log, measure_tables
    from headrace.trying import quiet

    quiet()
    loaded = load(config)
    tables, log = measure_tables(loaded), measure_log(loaded)
    if as_json:
        print_json([*tables, *log])
        return
    from rich.console import Console
    from rich.table import Table

    landed = Table("stream", "destination", "rows", "commits", "last commit", box=None)
    for row in tables:
        cells = (row["stream"], row["destination"], row["rows"], row["commits"], row["last_commit"])
        landed.add_row(*("-" if cell is None else f"{cell:,}" if isinstance(cell, int) else cell for cell in cells))
    behind = Table("topic", "partition", "log end", "committed", "lag", box=None)
    for row in log:
        if row["kind"] == "partition":
            behind.add_row(row["topic"], *(f"{row[name]:,}" for name in ("partition", "end", "committed", "lag")))
    console = Console(highlight=False, soft_wrap=True)
    console.print(landed)
    announce("")
    console.print(behind)
    size = log[-1]["bytes"]
    announce("")
    announce(f"log: {log[-1]['records']:,} records" + ("" if size is None else f", {size / 1e6:,.1f} MB on disk"))
