"""What the gateway needs to know, whoever starts it: nothing here reads a file or the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from connectors.log.settings import EmbeddedLogSettings, LogSettings

MAX_BODY_BYTES = 1_048_576


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one token may send to one stream, across all gateway processes of a host. None: no limit."""

    requests_per_second: Annotated[float, msgspec.Meta(gt=0)] | None = None
    bytes_per_second: Annotated[float, msgspec.Meta(gt=0)] | None = None


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that events may be sent to. `id` is a UUID in any case."""

    name: str
    id: str
    limits: Limits = Limits()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's settings.

    `data` is the directory of the token store and of what its processes share. `max_body_bytes` holds for a body as
    sent and as inflated. `body_timeout` (seconds) bounds how long a body may take to arrive. `threads` is how many
    requests one process works on at once, each of which may be waiting for its body or for the log. `version` names the
    configuration that they are from.

    While the gateway runs, `streams` (the log's with them) and `version` may change, and nothing else (`gateway.reloading`).
    """

    data: Path
    streams: tuple[StreamSettings, ...]
    log: LogSettings = EmbeddedLogSettings()
    max_body_bytes: Annotated[int, msgspec.Meta(ge=1)] = MAX_BODY_BYTES
    body_timeout: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    header_timeout: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    threads: Annotated[int, msgspec.Meta(ge=2)] = 256
    version: str = ""
