"""`headrace init`: a configuration that works, a token, and the call that sends the first event."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer

from headrace.terminal import AsJson, announce, print_json

STREAM = "events"

TEMPLATE = """\
# headrace.yaml: what headrace takes in, what it does with it, and where it goes.
# `headrace check` finds every mistake in it; `headrace schema` prints its JSON Schema for editors.

# Where everything is kept: the log, the tables, the tokens. Relative to this file.
data: ./data

# Without `log`, events wait in an embedded log in ./data/log. A Kafka cluster instead:
# log:
#   kafka: {{bootstrap_servers: "localhost:9092", topic: headrace.events, partitions: 12}}

# Without `destinations` there is one, `lake`: a Delta table a stream in ./data/lake. In S3 instead:
# destinations:
#   lake: {{type: delta, uri: "s3://my-bucket/{{stream}}"}}

streams:
  {stream}:
    id: {id}          # senders name the stream by this id
    # limits: {{requests_per_second: 2000, bytes_per_second: 50MB}}
    # steps:                                    # SQL over each event, in the order written
    #   - filter: event.status IS DISTINCT FROM 'healthcheck'
    #   - set:    {{event.total: event.price * event.quantity}}
    #   - drop:   [event.debug]
"""

EVENT = '{"source": "hello", "event": {"message": "it works", "answer": 42}}'


def init(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to write it; made where missing.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Write a commented headrace.yaml with a stream and a token, and print the curl line that works.

    \b
    Example:
      headrace init && headrace up
    """
    from connectors.errors import HeadraceError
    from flows.config import load
    from headrace.wiring import DEFAULT_URL, open_tokens

    file = directory / "headrace.yaml"
    stream_id = str(uuid4())
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as written:
            written.write(TEMPLATE.format(stream=STREAM, id=stream_id))
    except FileExistsError as exc:
        what = f"{file} is there already and stays as it is" if file.exists() else f"{directory} is not a directory"
        raise HeadraceError(what, remedy="choose an empty directory: headrace init DIR") from exc
    except OSError as exc:
        raise HeadraceError(f"cannot write {file}: {exc.strerror}", remedy="choose another directory") from exc

    try:
        config = load(file)
        config.data.mkdir(parents=True, exist_ok=True)
        (config.data / ".gitignore").write_text("# Events and tokens: not for version control.\n*\n")
        _, token = open_tokens(config).create(streams=[stream_id], permissions=["ingest"], expires=None)
    except BaseException:
        file.unlink()  # half an init would stand in the way of the next
        raise

    if as_json:
        print_json(
            {
                "config": str(file.resolve()),
                "url": DEFAULT_URL,
                "stream": STREAM,
                "stream_id": stream_id,
                "token": token,
            }
        )
        return
    here = "" if directory == Path() else f"cd {shlex.quote(str(directory))} && "
    announce(f"wrote {file}: one stream, '{STREAM}', and a token for it (shown this once, so keep it)")
    announce("")
    announce("start it:")
    announce(f"  {here}headrace up")
    announce("")
    announce("and, in another terminal, send an event:")
    announce(f"  {curl_line(DEFAULT_URL, token, stream_id, EVENT)}")
    announce("")
    announce("or a whole file, one JSON event a line:")
    announce(f"  {here}HEADRACE_TOKEN={token} headrace send {STREAM} events.ndjson")


def curl_line(url: str, token: str, stream_id: str, event: str) -> str:
    """The call that sends `event`, for a shell."""
    return (
        f'curl -X POST "{url}/v1/streams/ingest" -H "Authorization: Bearer {token}"'
        f' -H "Content-Type: application/json" -H "X-Stream-Id: {stream_id}" -d {shlex.quote(event)}'
    )
