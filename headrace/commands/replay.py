"""`headrace replay`."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connectors.errors import HeadraceError
from headrace.terminal import DEFAULT_CONFIG, AsJson, ConfigFile, announce, leave, print_json, say

if TYPE_CHECKING:
    from flows.replay.account import Account
    from flows.replay.places import Place
    from flows.replay.run import Progress


class Older(StrEnum):
    """What becomes of rows that came from records which the log does not hold any more."""

    keep = "keep"
    drop = "drop"


_FORMS = "an RFC 3339 time (of receipt), `2h` or `7d` ago, `offset:123`, or `0:100,1:200` by partition"


def replay(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="The stream, by name.")],
    into: Annotated[str, typer.Option(metavar="DEST", help="The destination, by its name in headrace.yaml.")],
    begin: Annotated[
        str | None, typer.Option("--from", help=f"Where to begin: {_FORMS}.  [default: where the log begins]")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Where to end, before it: as --from.  [default: where the log ends now]")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build the stream's Delta table anew beside it, and swap the two.")
    ] = False,
    older: Annotated[
        Older | None,
        typer.Option(
            help="With --rebuild: what becomes of rows that the log does not hold any more.  [default: refuse]"
        ),
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Run a stream's log again, through the present configuration, into one destination.

    Each event comes into a table once: what is there is not doubled, and the same command goes on where it was stopped.
    `headrace up` may run meanwhile.

    \b
    Example:
      headrace replay payments --from 2026-02-12T14:00:00Z --to 2h --into lake
      headrace replay payments --rebuild --into lake
    """
    from connectors.logger import configure_logging
    from connectors.record import now_microseconds
    from flows.config import load
    from flows.replay.plan import Asked
    from flows.replay.run import Replay

    if rebuild and (begin or end):
        raise typer.BadParameter("a table is rebuilt from all of the log: --rebuild takes no --from and no --to")
    if older is not None and not rebuild:
        raise typer.BadParameter("--older goes with --rebuild")
    now = now_microseconds()
    start, stop = _place("--from", begin, now), _place("--to", end, now)
    configure_logging()
    loaded = load(config, files=True)
    with ExitStack() as stack:
        tell = _progress(stream, stack)
        work = Replay(loaded, Asked(stream, into, begin, end, start, stop, rebuild, older and older.value), tell)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: work.stop())
        try:
            account = work.run()
        except HeadraceError as exc:
            stack.close()
            say(f"headrace: {exc}")
            leave(1)
    _report(account, as_json=as_json)
    if not account.finished:
        say(f"headrace: stopped; the same command goes on where it was: {_again()}")
    leave(0 if account.finished else 130)


def _place(option: str, text: str | None, now: int) -> Place | None:
    from flows.replay.places import read_place

    if text is None:
        return None
    try:
        return read_place(text, now)
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint=option) from exc


def _progress(name: str, stack: ExitStack):  # type: ignore[no-untyped-def]
    """What to tell how far it is: it moves a bar on a terminal, and does nothing elsewhere."""
    if not sys.stderr.isatty():
        return lambda _: None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = stack.enter_context(Bar(*columns, console=Console(stderr=True), transient=True))
    task = bar.add_task(f"{name}, records", total=None)

    def tell(progress: Progress) -> None:
        bar.update(task, completed=progress.done, total=progress.total)

    return tell


def _report(account: Account, *, as_json: bool) -> None:
    import msgspec

    if account.missing:
        say(
            f"headrace: up to {account.missing:,} records before the log's beginning were deleted (its retention):"
            " what they held is not replayed"
        )
    if as_json:
        print_json(msgspec.to_builtins(account, str_keys=True))
        return
    told: list[tuple[int, str]] = [
        (account.already_there, "already there"),
        (account.repeated, "repeats left out"),
        (account.dropped, "dropped by the pipeline"),
        (account.rollup_rows, "rows of rollups"),
        (account.dead_letters, "dead letters"),
    ]
    more = "".join(f", {count:,} {what}" for count, what in told if count)
    announce(
        f"read {account.read:,} events, wrote {account.written:,} to {account.into}{more}, {account.seconds:.1f} s"
    )
    if account.left:
        say(
            f"headrace: {account.left:,} records of the log are left to the dataflow, which brings them there itself"
            " (`headrace up`, or `headrace run --drain`)"
        )


def _again() -> str:
    import shlex

    words: list[Any] = ["headrace", *sys.argv[1:]]
    return shlex.join(words)
