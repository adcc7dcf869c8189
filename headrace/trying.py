"""What the commands that try a pipeline share: the stream, its default destination, and events to try it on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from connectors.errors import HeadraceError

if TYPE_CHECKING:
    from connectors.batch import StreamLines
    from flows.config import Config, Stream


def stream_named(config: Config, name: str) -> Stream:
    """The stream called `name`. Raises HeadraceError with those that there are."""
    if name in config.streams:
        return config.streams[name]
    known = ", ".join(sorted(config.streams)) or "none"
    raise HeadraceError(f"there is no stream '{name}' in {config.file}", remedy=f"its streams: {known}")


def lines_to_try(config: Config, stream: Stream, file: Path | None, last: int) -> tuple[StreamLines | None, list[int]]:
    """(events, line numbers): those of `file`, or the `last` ones of the log; None where there is none.

    Line numbers are of the file, and empty for events of the log.
    """
    from connectors.record import now_microseconds
    from flows.trial import example_lines, read_examples

    if file is not None:
        examples = read_examples(file)
        lines = example_lines(stream.id, [example.text for example in examples], now_microseconds())
        return lines, [example.line for example in examples]
    return last_lines(config, stream, last)[0], []


def last_lines(config: Config, stream: Stream, count: int) -> tuple[StreamLines | None, dict[int, int]]:
    """(the last `count` events of the stream in the log, where to read on)."""
    import msgspec

    from connectors.batch import batch_of
    from connectors.log import Block, open_log
    from connectors.log.last import last_records

    log = open_log(config.log)
    try:
        records, ends = last_records(log, stream.id, count)
    finally:
        log.close()
    if not records:
        return None, ends
    [lines] = batch_of(Block(0, list(range(len(records))), records, len(records))).streams
    extra = max(0, lines.table.num_rows - count)
    table = lines.table.slice(extra)
    return msgspec.structs.replace(lines, table=table, ndjson="\n".join(table["line"].to_pylist()).encode()), ends


def one_of(file: Path | None, last: int | None) -> None:
    """Raises typer.BadParameter unless exactly one of `--input` and `--last` is given."""
    if (file is None) == (last is None):
        raise typer.BadParameter("one of --input FILE and --last N is needed")


def quiet() -> None:
    """This process logs nothing: a trial says what it has to say itself, and what fails is raised."""
    from connectors.logger import configure_logging

    configure_logging("critical")
