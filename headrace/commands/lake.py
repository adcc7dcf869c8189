"""`headrace lake compact|vacuum|history|widen`: the Delta tables, by hand. `headrace up` and `run` do the first two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.terminal import DEFAULT_CONFIG, AsJson, ConfigFile, announce, print_json, say

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from flows.config import Config
    from flows.lake_tables import LakeTable

app = typer.Typer(
    help="Look after the Delta tables: compact, vacuum, history, widen.", no_args_is_help=True, rich_markup_mode=None
)

Table = Annotated[str, typer.Argument(metavar="STREAM", help="A stream, `STREAM_ROLLUP`, or `dead_letters`.")]
Tables = Annotated[
    str | None, typer.Argument(metavar="[STREAM]", help="A stream, `STREAM_ROLLUP`, or `dead_letters`.  [default: all]")
]
Destination = Annotated[
    str | None, typer.Option(help="The destination that the table is of, where the stream goes to several lakes.")
]


@app.command()
def compact(
    stream: Tables = None,
    destination: Destination = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Make few files of many, also where rows still come; the dataflow may run meanwhile.

    \b
    Example:
      headrace lake compact payments --json
    """
    from datetime import UTC, datetime

    import msgspec

    from connectors.sinks.upkeep import compact as compact_table
    from flows.upkeep import ownership

    loaded = _load(config)
    rows: list[dict[str, Any]] = []
    with ownership(loaded.data, wait=True):
        for table, handle in _opened(loaded, stream, destination):
            rules = table.settings.maintenance
            for done in compact_table(handle, rules, now=datetime.now(UTC), every=True):
                rows.append({"stream": table.name, "destination": table.destination, **msgspec.structs.asdict(done)})
    if as_json:
        print_json(rows)
        return
    for row in rows:
        where = " ".join(part for part in (row["stream"], row["partition"]) if part)
        announce(f"{where}: {row['files_before']:,} files became {row['files_after']:,}")
    if not rows:
        announce("nothing to compact")


@app.command()
def vacuum(
    stream: Tables = None,
    destination: Destination = None,
    keep: Annotated[
        str | None, typer.Option(help="How long old versions stay readable: 24h, 7d, …  [default: `keep` of the file]")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which files would go.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Delete files that no version of a table needs any more; the dataflow may run meanwhile.

    \b
    Example:
      headrace lake vacuum payments --keep 24h --dry-run
    """
    from connectors.sinks.upkeep import trim_log
    from connectors.sinks.upkeep import vacuum as vacuum_table
    from flows.upkeep import ownership

    kept = _keep(keep)
    loaded = _load(config)
    rows: list[dict[str, Any]] = []
    with ownership(loaded.data, wait=True):
        for table, handle in _opened(loaded, stream, destination):
            files = vacuum_table(handle, kept or table.settings.maintenance.keep, dry_run=dry_run)
            if not dry_run:
                trim_log(handle)
            rows.append(
                {"stream": table.name, "destination": table.destination, "files": files, "deleted": not dry_run}
            )
    if as_json:
        print_json(rows)
        return
    for row in rows:
        announce(f"{row['stream']}: {len(row['files']):,} files {'deleted' if row['deleted'] else 'would be deleted'}")


@app.command()
def history(
    stream: Table,
    destination: Destination = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="So many of the newest commits.")] = 20,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show a table's newest commits: when, what, how many rows and files.

    \b
    Example:
      headrace lake history payments --limit 5
    """
    from connectors.sinks.upkeep import history as history_of

    [(_, handle)] = _opened(_load(config), stream, destination)
    rows = history_of(handle, limit)
    if as_json:
        print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table as Grid

    grid = Grid(*(name.replace("_", " ") for name in rows[0]), box=None)
    for row in rows:
        grid.add_row(
            *("-" if cell is None else f"{cell:,}" if isinstance(cell, int) else cell for cell in row.values())
        )
    Console(highlight=False, soft_wrap=True).print(grid)


@app.command()
def widen(
    stream: Table,
    path: Annotated[str, typer.Argument(metavar="PATH", help="The column: event.amount")],
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="Its new type: DOUBLE, DECIMAL(18,2), VARCHAR, …")],
    destination: Destination = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Give a column a wider type, and take back what `_rescued` holds of it. The dataflow must be stopped.

    The table is written anew, in one commit. Nothing is rounded: what the type cannot hold exactly stops the command or,
    where it is in `_rescued`, stays there.

    \b
    Example:
      headrace lake widen payments event.amount DOUBLE
    """
    import msgspec

    from connectors.sinks.widen import arrow_type
    from connectors.sinks.widen import widen as widen_column
    from flows.config.paths import field_path
    from flows.config.sqltypes import canonical
    from flows.upkeep import dataflow_stopped, ownership

    try:
        spelled, column = canonical(kind), field_path(path)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc
    loaded = _load(config)
    with dataflow_stopped(loaded.data), ownership(loaded.data, wait=True):
        [(_, handle)] = _opened(loaded, stream, destination)
        done = widen_column(handle, column, arrow_type(spelled))
    if as_json:
        print_json({"stream": stream, "path": path, "type": spelled, **msgspec.structs.asdict(done)})
        return
    announce(
        f"{path} is a {spelled}: {done.rows:,} rows, {done.taken_back:,} values taken back,"
        f" {done.still_rescued:,} still in _rescued"
    )
    if stream in loaded.streams and path not in loaded.streams[stream].types:
        say(f"so that what comes next is read as one too, say it in {loaded.file}: types: {{{path}: {spelled!r}}}")


def _load(file: Any) -> Config:
    from flows.config import load
    from headrace.trying import quiet

    quiet()
    return load(file)


def _opened(config: Config, name: str | None, destination: str | None) -> list[tuple[LakeTable, DeltaTable]]:
    """The tables that are meant and there. HeadraceError where a name is unknown, or names several tables."""
    from connectors.errors import HeadraceError
    from connectors.sinks.upkeep import open_table
    from flows.lake_tables import lake_tables

    known = lake_tables(config)
    if destination is not None and destination not in {table.destination for table in known}:
        names = ", ".join(dict.fromkeys(table.destination for table in known))
        raise HeadraceError(f"no stream goes to a lake called '{destination}'", remedy=f"lakes: {names}")
    meant = [table for table in known if destination in (None, table.destination) and name in (None, table.name)]
    if not meant:
        names = ", ".join(dict.fromkeys(table.name for table in known))
        raise HeadraceError(f"there is no table '{name}' in {config.file}", remedy=f"its tables: {names}")
    if name is not None and len(meant) > 1:
        lakes = ", ".join(table.destination for table in meant)
        raise HeadraceError(f"'{name}' has several tables", remedy=f"say which with --destination: {lakes}")
    opened = [(table, handle) for table in meant if (handle := open_table(table.settings, table.name)) is not None]
    if name is not None and not opened:
        raise HeadraceError(
            f"nothing of '{name}' has landed yet ({meant[0].settings.table_uri(name)})",
            remedy="send an event, and check that `headrace up` is running",
        )
    return opened


def _keep(text: str | None) -> Any:
    from datetime import timedelta

    from gateway.tokens import parse_duration

    if text is None:
        return None
    try:
        keep = timedelta(seconds=parse_duration(text))
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="--keep") from exc
    if keep < timedelta(hours=1):
        raise typer.BadParameter(
            "at least 1h: a file that is being written would go before its commit", param_hint="--keep"
        )
    return keep
