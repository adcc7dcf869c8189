"""`headrace dlq list|show|replay|drop`: the events that could not go where they should, looked at and sent again."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.terminal import DEFAULT_CONFIG, AsJson, ConfigFile, announce, print_json, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from deltalake import DeltaTable

    from connectors.log import Log
    from flows.config import Config
    from headrace.dlq.choice import Choice
    from headrace.dlq.replay import Replayed

app = typer.Typer(
    help="Dead letters: list, show, replay through the present configuration, drop.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="SQL",
        help="Only letters for which this is true: SQL over event_id, stream, stage, step, destination, error,"
        ' config_version, topic, partition, "offset", index, payload, received_at. payload is JSON.',
    ),
]
Stream = Annotated[str | None, typer.Option("--stream", help="Only letters of this stream.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many, those received first.")]

_LISTED = 100
_SHOWN_REASONS = 20
_PIECE = 1_000


@app.command("list")
def list_letters(
    where: Where = None,
    stream: Stream = None,
    limit: Limit = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """List dead letters: which event, where it could not go on, and why. Without --limit the first 100; with --json all.

    \b
    Example:
      headrace dlq list --where "stage = 'destination' AND payload->>'$.source' = 'web'"
    """
    choice = _choice(where, stream, limit if as_json or limit else _LISTED + 1)
    rows = _letters(config, choice)
    if as_json:
        print_json(rows)
        return
    if not rows:
        say("no dead letters")
        return
    from rich.console import Console
    from rich.table import Table as Grid

    names = ("event_id", "stream", "stage", "destination", "error")
    grid = Grid(*(name.replace("_", " ") for name in names), box=None)
    shown = rows if limit else rows[:_LISTED]
    for row in shown:
        place = row["destination"] or row["step"]
        cells = (row["event_id"], row["stream"], row["stage"], place, row["error"])
        grid.add_row(*("-" if cell is None else _plain(cell) for cell in cells))
    Console(highlight=False, markup=False, soft_wrap=True).print(grid)
    if len(rows) > len(shown):
        say(f"these are the first {len(shown)}: --limit N or --json shows more, --where fewer")


@app.command()
def show(
    event_id: Annotated[str | None, typer.Argument(metavar="[EVENT_ID]", help="The event.")] = None,
    where: Where = None,
    stream: Stream = None,
    limit: Limit = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show all that is kept of an event's letters, the event itself included: masked, as it would have gone on.

    \b
    Example:
      headrace dlq show 01985b7c-1f2e-7a3b-8c4d-5e6f7a8b9c0d-0
    """
    if event_id is None and where is None and stream is None:
        raise typer.BadParameter("an EVENT_ID, --where or --stream is needed")
    from connectors.errors import HeadraceError

    rows = _letters(config, _choice(where, stream, limit, event_id))
    if as_json:
        print_json(rows)
    elif not rows and event_id is not None:
        raise HeadraceError(f"there is no dead letter of the event '{event_id}'", remedy="see `headrace dlq list`")
    elif not rows:
        say("no dead letters")
    else:
        announce("\n\n".join(_shown(row) for row in rows))


@app.command()
def replay(
    where: Where = None,
    stream: Stream = None,
    limit: Limit = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Send the events of dead letters through the present configuration, each once, and take the letters away.

    An event keeps its event_id and received_at. What a destination had refused goes to that destination alone. The
    dataflow may run meanwhile; where none runs, the events land with the next run. One that fails again is a dead letter
    again. What cannot be sent (rows of rollups, and what came late for one) is said, stays, and makes the exit code 1.

    \b
    Example:
      headrace dlq replay --where "destination = 'search'"
    """
    from headrace.dlq.journal import Journal, alone
    from headrace.dlq.replay import Replayed, settle
    from headrace.dlq.replay import replay as replay_letters
    from headrace.dlq.taken import wait_until_taken

    choice = _choice(where, stream, limit)
    loaded = _load(config)
    done = Replayed()
    with ExitStack() as stack:
        stack.enter_context(alone(loaded.data, _say_waiting))
        table = _table(loaded)
        if table is not None:
            wait_until_taken(loaded, lambda: say(f"waiting for the dataflow to take {loaded.file} as it is now"))
            log, journal = _opener(loaded, stack), Journal(loaded.data)
            finished = settle(table, journal, log)
            done = replay_letters(loaded, table, choice, log(), journal, _progress(stack))
            done.finished = finished
    _report(done, as_json=as_json)
    if done.not_replayed:
        raise typer.Exit(1)


@app.command()
def drop(
    where: Where = None,
    everything: Annotated[bool, typer.Option("--all", help="All letters (of --stream, where it is given).")] = False,
    stream: Stream = None,
    limit: Limit = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Delete dead letters for good; say which with --where, or --all. The dataflow may run meanwhile.

    \b
    Example:
      headrace dlq drop --where "error LIKE '%card is too long%'"
    """
    if (where is None) != everything:
        raise typer.BadParameter("one of --where SQL and --all is needed")
    from connectors.sinks.letter_table import KEY, remove
    from headrace.dlq.choice import chosen
    from headrace.dlq.journal import Journal, alone
    from headrace.dlq.replay import settle

    choice = _choice(where, stream, limit)
    loaded = _load(config)
    dropped = 0
    with ExitStack() as stack:
        stack.enter_context(alone(loaded.data, _say_waiting))
        table = _table(loaded)
        if table is not None:
            settle(table, Journal(loaded.data), _opener(loaded, stack))
            for letters in chosen(table, choice, _PIECE * 50):
                dropped += remove(table, letters.select(KEY.names))
    if as_json:
        print_json({"dropped": dropped})
    else:
        announce(f"{dropped:,} dead letters dropped" if dropped != 1 else "1 dead letter dropped")


def _load(file: Any) -> Config:
    from flows.config import load
    from headrace.trying import quiet

    quiet()
    return load(file)


def _choice(where: str | None, stream: str | None, limit: int | None, event_id: str | None = None) -> Choice:
    from headrace.dlq.choice import Choice, refuse_bad

    refuse_bad(where)
    return Choice(where, stream, event_id, limit)


def _letters(config: Any, choice: Choice) -> list[dict[str, Any]]:
    """The letters as the table has them, times as RFC 3339."""
    from headrace.dlq.choice import chosen

    table = _table(_load(config))
    if table is None:
        return []
    return [
        row | {"received_at": None if row["received_at"] is None else _instant(row["received_at"])}
        for letters in chosen(table, choice, _PIECE, ordered=True)
        for row in letters.to_pylist()
    ]


def _table(config: Config) -> DeltaTable | None:
    from connectors.sinks.letter_table import letter_table

    return letter_table(config.data)


def _opener(config: Config, stack: ExitStack) -> Callable[[], Log]:
    """Opens the log when it is first asked for; closed with the stack."""
    from functools import cache

    from connectors.log import open_log

    @cache
    def log() -> Log:
        opened = open_log(config.log)
        stack.callback(opened.close)
        return opened

    return log


def _progress(stack: ExitStack) -> Callable[[int], None]:
    """What to tell how many letters have been gone through: a count on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        return lambda _: None
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} dead letters"), TimeElapsedColumn())
    progress = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = progress.add_task("replay", total=None)
    return lambda count: progress.advance(task, count)


def _say_waiting() -> None:
    say("another `headrace dlq` takes letters out; waiting for it")


def _report(done: Replayed, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        print_json(msgspec.to_builtins(done))
        return
    for left in done.not_replayed[:_SHOWN_REASONS]:
        say(f"{left.event_id or 'no event_id'} ({left.stream}, {left.stage}): not replayed: {left.reason}")
    more = len(done.not_replayed) - _SHOWN_REASONS
    if more > 0:
        say(f"and {more:,} more not replayed (--json lists them all)")
    before = f" ({done.finished:,} more by a command that was interrupted)" if done.finished else ""
    left_ = f", {len(done.not_replayed):,} left" if done.not_replayed else ""
    announce(f"replayed {done.replayed:,} dead letters{before}{left_}")


def _shown(row: dict[str, Any]) -> str:
    import json

    lines = [f"{name}: {_plain(value)}" for name, value in row.items() if name != "payload" and value is not None]
    try:
        payload = json.dumps(json.loads(row["payload"]), indent=2, ensure_ascii=False)
    except (TypeError, ValueError):
        payload = "not kept: it could not be masked" if row["payload"] is None else _plain(row["payload"])
    return "\n".join([*lines, f"payload: {payload}"])


def _plain(value: Any) -> str:
    """On one line, and nothing that a terminal would take for a command: a refusal is somebody else's text."""
    return "".join(one if one.isprintable() else " " for one in str(value))


def _instant(moment: Any) -> str:
    return str(moment.isoformat(timespec="microseconds").replace("+00:00", "Z"))
