"""The console script `headrace`: one Typer application, a file a group of commands in `headrace.commands`.

A command imports what it needs when it runs, so `headrace --help` answers at once. Exit codes: 0 done, 1 failed
(why, on stderr), 2 wrong usage.
"""

from __future__ import annotations

import os
import sys

import typer

from connectors.errors import HeadraceError
from headrace.commands import (
    check,
    dlq,
    doctor,
    explain,
    init,
    lake,
    preview,
    replay,
    schema,
    send,
    serving,
    stats,
    tail,
    testing,
    token,
    version,
)

app = typer.Typer(
    name="headrace",
    help="HTTP events in, exactly-once tables out.\n\nStart with: headrace init && headrace up",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(init.init)
app.command("up")(serving.up)
app.command("serve")(serving.serve)
app.command("run")(serving.run)
app.command("send")(send.send)
app.command("check")(check.check)
app.command("test")(testing.run_tests)
app.command("explain")(explain.explain)
app.command("preview")(preview.preview)
app.command("tail")(tail.tail)
app.command("replay")(replay.replay)
app.command("stats")(stats.stats)
app.command("schema")(schema.schema)
app.add_typer(token.app, name="token")
app.add_typer(lake.app, name="lake")
app.add_typer(dlq.app, name="dlq")
app.command("doctor")(doctor.doctor)
app.command("version")(version.version)


def main() -> None:
    """Runs the command line; what a person can act on is one line on stderr, never a stack trace."""
    try:
        app()
    except HeadraceError as exc:
        print(f"headrace: {exc}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output (`| head`) has what it wanted; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as exc:  # a file or an address that is not what it should be: the system's words say which
        print(f"headrace: {exc.filename or 'the system says'}: {exc.strerror or exc}", file=sys.stderr)
        sys.exit(1)
