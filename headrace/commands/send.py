"""`headrace send`."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from headrace.terminal import DEFAULT_CONFIG, AsJson, ConfigFile, announce, print_json, say

if TYPE_CHECKING:
    from headrace.delivery import Account

SHOWN_REFUSALS = 20


class Compression(StrEnum):
    """How batches travel."""

    zstd = "zstd"
    gzip = "gzip"
    none = "none"


def send(
    stream: Annotated[
        str, typer.Argument(metavar="STREAM", help="The stream, by name (looked up in headrace.yaml) or by id.")
    ],
    file: Annotated[str, typer.Argument(metavar="FILE", help="NDJSON, one event a line; `-` reads stdin.")],
    token: Annotated[str, typer.Option(envvar="HEADRACE_TOKEN", show_envvar=True, help="The API token.")] = "",
    url: Annotated[
        str, typer.Option(envvar="HEADRACE_URL", show_envvar=True, help="The gateway.")
    ] = "http://127.0.0.1:8080",
    raw: Annotated[
        bool, typer.Option("--raw", help="The file holds log lines, not JSON: each is an event's message.")
    ] = False,
    source: Annotated[str, typer.Option(help="With --raw: the `source` of every event.")] = "",
    key: Annotated[
        str, typer.Option(help="Names this run: repeated with its key within the dedupe window, nothing doubles.")
    ] = "",
    compression: Annotated[Compression, typer.Option(help="How batches travel.")] = Compression.zstd,
    give_up_after: Annotated[float, typer.Option(min=0, help="Seconds to keep trying one batch.")] = 300.0,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Send a file of events: batched, compressed, retried, each event once.

    Exits 1 where a line was refused (named with its reason) or not everything could be sent.

    \b
    Example:
      export HEADRACE_TOKEN=hr_...
      headrace send payments events.ndjson
      zcat app.log.gz | headrace send app - --raw --source app
    """
    from headrace.delivery import Delivery, batches, ndjson_lines, raw_lines

    if not token:
        raise typer.BadParameter("a token is needed: --token, or the environment variable HEADRACE_TOKEN")
    if raw != bool(source):
        raise typer.BadParameter("--raw and --source NAME go together")
    began = time.monotonic()
    delivery = Delivery(
        url,
        token,
        _stream_id(stream, config),
        key=key or os.urandom(8).hex(),
        compression=compression.value,
        give_up_after=give_up_after,
    )
    name = "stdin" if file == "-" else file
    with ExitStack() as stack:
        opened = _open(file, stack)
        advance = _progress(opened, name, stack)
        lines = raw_lines(opened, source) if raw else ndjson_lines(opened)
        try:
            for batch in batches(lines, delivery.account.refused.append):
                delivery.send(batch)
                advance()
        finally:
            stack.close()
            _report(delivery.account, name, time.monotonic() - began, as_json=as_json)
    if delivery.account.refused:
        raise typer.Exit(1)


def _stream_id(stream: str, config: os.PathLike[str]) -> str:
    from pathlib import Path

    from headrace.wiring import is_uuid, stream_id

    if is_uuid(stream):
        return stream
    from flows.config import load

    return stream_id(load(Path(config)), stream)


def _open(file: str, stack: ExitStack) -> BinaryIO:
    from connectors.errors import HeadraceError

    if file == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(open(file, "rb"))
    except OSError as exc:
        raise HeadraceError(f"cannot read {file}: {exc.strerror}") from exc


def _progress(opened: BinaryIO, name: str, stack: ExitStack):  # type: ignore[no-untyped-def]
    """What to call after each batch: it moves a bar on a terminal, and does nothing elsewhere."""
    if not sys.stderr.isatty():
        return lambda: None
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    progress = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    seekable = opened.seekable()
    task = progress.add_task(name, total=os.fstat(opened.fileno()).st_size if seekable else None)
    return lambda: progress.update(task, completed=opened.tell() if seekable else None)


def _report(account: Account, name: str, seconds: float, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "events": account.events,
                "requests": account.requests,
                "retries": account.retries,
                "seconds": round(seconds, 3),
                "refused": [
                    {"file": name, "line": line.line, "error": line.error, "detail": line.detail}
                    for line in account.refused
                ],
            }
        )
        return
    for refused in account.refused[:SHOWN_REFUSALS]:
        say(f"{name}:{refused.line}: {refused.error}: {refused.detail}")
    if len(account.refused) > SHOWN_REFUSALS:
        say(f"{name}: and {len(account.refused) - SHOWN_REFUSALS:,} more lines refused (--json lists them all)")
    retried = f", {account.retries} tries repeated" if account.retries else ""
    refused_ = f", {len(account.refused):,} lines refused" if account.refused else ""
    announce(f"sent {account.events:,} events in {account.requests} requests, {seconds:.1f} s{retried}{refused_}")
