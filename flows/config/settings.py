"""The configuration as the code sees it: frozen structs, every default filled in, every path absolute.

The grammar of `headrace.yaml` follows from these types (`flows.config.decode`), and so does its JSON Schema.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from connectors.log.settings import EmbeddedLogSettings, KafkaLogSettings, LogSettings
from connectors.sinks.http.settings import HttpDestination
from connectors.sinks.settings import Destination
from connectors.values import Between, Bytes, Kind, Secret
from flows.kinds import Data, Expression, FieldPath
from flows.lookups.settings import Lookup
from flows.rollups import Rollup
from flows.routes import Route
from flows.steps import Drop, Dynamic, Filter, Mask, Per, Sample, Set, Step, Window
from flows.steps.mask.settings import MaskKind

DEFAULT_DESTINATION = "lake"
"""Where an event goes that no route sends anywhere."""

Name = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"), Kind("name")]
"""A name of a stream or a destination. Names become directories, topics and labels, so they are plain."""

StreamId = Annotated[str, Kind("uuid")]
"""A UUID, in lower case with its hyphens."""

SqlType = Annotated[str, Kind("type")]
"""A DuckDB type that a Delta table can hold, as DuckDB spells it: `DECIMAL(18,2)`, `TIMESTAMP WITH TIME ZONE`."""

DedupeWindow = Annotated[timedelta, Between(timedelta(0), timedelta(days=30))]


class OneKey(msgspec.Struct, frozen=True, eq=False):
    """Marks a union that is written as a mapping of one key: the member's name, and under it what it takes.

    A member with a single field takes that field's value directly (`filter: <sql>`), any other a mapping of its fields.
    """

    what: str
    members: dict[str, type[msgspec.Struct]]


LOGS: dict[str, type[msgspec.Struct]] = {"embedded": EmbeddedLogSettings, "kafka": KafkaLogSettings}
STEPS: dict[str, type[msgspec.Struct]] = {step.__name__.lower(): step for step in get_args(Step)}

READ_AS: dict[tuple[type[msgspec.Struct], str], Any] = {
    (Filter, "expression"): Expression,
    (Set, "assignments"): dict[FieldPath, Expression],
    (Drop, "paths"): tuple[FieldPath, ...],
    (Mask, "fields"): dict[FieldPath, MaskKind],
    (Sample, "key"): Expression,
    (Sample, "keep"): Expression,
    (Per, "key"): Expression,
    (Dynamic, "key"): Expression,
    (Window, "key"): Expression,
    (Route, "when"): Expression,
    (HttpDestination, "body"): Data | None,
}
"""What a plain `str` of a step or a route means, where its struct's own annotation does not say it."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much of a stream each token may send; None is without limit."""

    requests_per_second: Annotated[float, msgspec.Meta(gt=0, le=1_000_000_000)] | None = None
    bytes_per_second: Bytes | None = None


class StreamTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An example of what a pipeline does, run by `headrace test`.

    `input` are events as a sender writes them; `expect` gives for each destination named the rows that it must get, in
    order: as many as the list has, and in each the fields that are named. A null is expected where the field is absent.

        tests:
          - name: a healthcheck goes nowhere
            input:  [{source: web, event: {status: healthcheck}}]
            expect: {lake: []}
    """

    name: Annotated[str, msgspec.Meta(min_length=1)]
    input: tuple[dict[str, Data], ...]
    expect: dict[str, tuple[dict[str, Data], ...]]


class Stream(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A stream: who it is, what it may take, and the way of its events from the log to the destinations.

    `types` gives leaf columns (dotted path) their DuckDB types; every other type is inferred. `routes` is empty where
    all events go to the destination `lake`; `tests` are what `headrace test` runs. A request repeated with its
    Idempotency-Key within `dedupe_window` is dropped. `mask_key` is what `mask`'s `hmac` is keyed by: the file's, unless
    the stream has its own; so it is with the `lookups` that its `enrich` steps name.
    """

    id: StreamId
    limits: Limits = Limits()
    schema: Literal["evolve", "rescue", "reject"] = "evolve"
    types: dict[FieldPath, SqlType] = {}
    steps: tuple[Annotated[Step, OneKey("step", STEPS)], ...] = ()
    rollups: tuple[Rollup, ...] = ()
    routes: tuple[Route, ...] = ()
    tests: tuple[StreamTest, ...] = ()
    dedupe_window: DedupeWindow = timedelta(hours=1)
    mask_key: Secret | None = None
    lookups: dict[Name, Lookup] = {}


class Grammar(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a `headrace.yaml` says.

    Without `log` it is the embedded one in `<data>/log`; without `destinations` there is `lake`, a Delta table a stream
    under `<data>/lake`. `lookups` and `mask_key` are those of the streams without their own.
    Relative paths are relative to the file's directory.
    """

    log: Annotated[LogSettings, OneKey("log", LOGS)] | None = None
    data: Path = Path("data")
    lookups: dict[Name, Lookup] = {}
    destinations: dict[Name, Destination] = {}
    streams: dict[Name, Stream]
    mask_key: Secret | None = None


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole `headrace.yaml`.

    `data` (an absolute directory) holds state, the embedded log and the default lake; `file` is where it was read from.
    """

    log: LogSettings
    data: Path
    destinations: dict[str, Destination]
    streams: dict[str, Stream]
    file: Path

    @property
    def default(self) -> str | None:
        """The destination of events that no route takes; None where there is none, and they are dropped, counted."""
        return DEFAULT_DESTINATION if DEFAULT_DESTINATION in self.destinations else None
