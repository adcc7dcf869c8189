"""`headrace token create|list|revoke`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.terminal import DEFAULT_CONFIG, AsJson, ConfigFile, announce, print_json, say

if TYPE_CHECKING:
    from flows.config import Config
    from gateway.tokens import Token

app = typer.Typer(help="Create, list and revoke API tokens.", no_args_is_help=True, rich_markup_mode=None)


class Permission(StrEnum):
    """What a token may do."""

    ingest = "ingest"
    read = "read"
    admin = "admin"


@app.command()
def create(
    stream: Annotated[
        list[str] | None, typer.Option("--stream", help="A stream it is for, by name or id; repeat for more.")
    ] = None,
    every_stream: Annotated[bool, typer.Option("--all-streams", help="For every stream, future ones too.")] = False,
    permission: Annotated[
        list[Permission] | None,
        typer.Option("--permission", help="What it may do; repeat for more.  [default: ingest]"),
    ] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends: 12h, 90d, … (default: never).")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Create a token. It is shown this once: only its hash is stored.

    \b
    Example:
      headrace token create --stream payments --expires 90d
    """
    from flows.config import load
    from gateway.tokens import parse_duration
    from headrace.wiring import open_tokens, stream_id

    if bool(stream) == every_stream:
        raise typer.BadParameter("say which streams the token is for: --stream NAME (repeatable), or --all-streams")
    try:
        lifetime = None if expires is None else parse_duration(expires)
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="--expires") from exc
    loaded = load(config)
    ids = None if every_stream else [stream_id(loaded, name) for name in stream or []]
    created, secret = open_tokens(loaded).create(
        streams=ids, permissions=[p.value for p in permission or [Permission.ingest]], expires=lifetime
    )
    if as_json:
        print_json({"id": created.id, "token": secret} | _row(created, loaded))
    else:
        announce(secret)
        say("this token is not shown again; keep it where your programs find it, e.g.")
        say(f"  export HEADRACE_TOKEN={secret}")


@app.command("list")
def list_tokens(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the tokens: what each may do, when it ends, when it was last used.

    \b
    Example:
      headrace token list --json
    """
    from flows.config import load
    from headrace.wiring import open_tokens

    loaded = load(config)
    rows = [_row(token, loaded) for token in open_tokens(loaded).list()]
    if as_json:
        print_json(rows)
        return
    if not rows:
        announce("no tokens; headrace token create --stream NAME makes one")
        return
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        announce("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as `token list` shows it.")],
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Revoke a token; it is refused within a second, by every process.

    \b
    Example:
      headrace token revoke 3f9c2a61
    """
    from flows.config import load
    from headrace.wiring import open_tokens

    loaded = load(config)
    revoked = open_tokens(loaded).revoke(token_id)
    if as_json:
        print_json(_row(revoked, loaded))
    else:
        announce(f"revoked {token_id}")


def _row(token: Token, config: Config) -> dict[str, Any]:
    """A token as `--json` shows it: streams by name where the configuration knows them, times in RFC 3339."""
    from connectors.record import format_instant
    from headrace.wiring import state_of

    names = {stream.id: name for name, stream in config.streams.items()}
    return {
        "id": token.id,
        "state": state_of(token),
        "streams": "all" if token.streams is None else [names.get(stream, stream) for stream in token.streams],
        "permissions": list(token.permissions),
        **{
            moment: None if at is None else format_instant(at)
            for moment, at in (
                ("created", token.created),
                ("expires", token.expires),
                ("revoked", token.revoked),
                ("last_used", token.last_used),
            )
        },
    }


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return "" if value is None else str(value).partition(".")[0]
