"""Builds a stream's table anew beside the live one, catches up with the dataflow, and swaps the two in one commit.

What is built is what the present configuration makes of the log up to where the dataflow has come to in the live table;
what the dataflow commits next belongs behind it. So: read how far it is, build up to there, swap if it has not committed
since, else read on from where it is now. Each round has less to do than the one before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from connectors.errors import ConfigError, HeadraceError
from connectors.log import Log
from connectors.log.span import Span, SpanLog
from connectors.record import now_microseconds, parse_instant
from connectors.sinks.base import Rows
from connectors.sinks.delta import EVENTS
from connectors.sinks.delta_table import TableWriter
from connectors.sinks.settings import DeltaDestination
from connectors.sinks.there import Scanned, There, delta_scan
from connectors.sinks.upkeep import open_table
from flows.config import Config, accept, config_version
from flows.config.watch import ACCEPTED
from flows.graph import NAME
from flows.replay.live import Live, committed, gives_events, look
from flows.replay.older import Older, as_staged, older_than, without
from flows.replay.plan import Kept, Plan
from flows.replay.swap import NewTable
from flows.stateful.lanes import remembers
from flows.upkeep import dataflow_stopped, ownership

if TYPE_CHECKING:
    from flows.replay.run import Replay

_ROUNDS = 100
_PATIENCE = 30.0  # seconds for the dataflow to take a configuration that was changed a moment ago


class Rebuild:
    """The rebuilding of a table, as part of a replay. `older` says what becomes of rows that the log has no more."""

    def __init__(self, replay: Replay, config: Config, stream: str, into: str, older: str | None) -> None:
        """Raises HeadraceError where it cannot be."""
        settings = config.destinations[into]
        if not isinstance(settings, DeltaDestination):
            raise HeadraceError(
                f"--rebuild: '{into}' is no Delta table", remedy="only those can be swapped in one commit"
            )
        if not gives_events(config.streams[stream], into):
            raise HeadraceError(
                f"--rebuild: no route of '{stream}' names '{into}'", remedy="replay into it without --rebuild"
            )
        self._replay = replay
        self._config = config
        self._name = stream
        self._into = into
        self._settings = settings
        self._older = older
        self._remembers = remembers(config.streams[stream])

    def run(self, log: Log, kept: Kept) -> None:
        """Does it, or what is left of it."""
        with self._alone():
            if not self._remembers:
                await_configuration(self._config)
            live = self._opened()
            plan, new = self._plan(log, kept, live)
            if new.is_in(live):
                self._done(kept, plan, new)
                return
            older = older_than(log, self._config.streams[self._name])
            self._refuse_loss(live, older)
            self._build(log, kept, plan, new, older)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody compacts meanwhile: a file with rows of before and after could be neither taken nor left."""
        with ownership(self._config.data, wait=True):
            if not self._remembers:
                yield
                return
            try:
                with dataflow_stopped(self._config.data):
                    yield
            except HeadraceError as exc:
                if "a dataflow runs" not in exc.what:
                    raise
                raise HeadraceError(
                    f"--rebuild: '{self._name}' has steps with a memory, and a dataflow runs on {self._config.data}",
                    remedy="stop `headrace up` or `run` first; the gateway may go on",
                ) from exc

    def _opened(self) -> DeltaTable:
        table = open_table(self._settings, self._name)
        if table is None:
            raise HeadraceError(
                f"--rebuild: '{self._name}' has no table in '{self._into}' yet", remedy="there is nothing to rebuild"
            )
        return table

    def _plan(self, log: Log, kept: Kept, live: DeltaTable) -> tuple[Plan, NewTable]:
        """What to go by; what was begun and cannot be gone on with is cleared away."""
        now = now_microseconds()
        plan = kept.plan(log, now)
        by = tuple(live.metadata().partition_columns)
        new = NewTable(self._settings, self._name, kept.name(plan), by)
        begun = kept.state(plan).exists()
        if begun and not new.is_in(live) and self._is_stale(log, plan, now):
            new.discard()
            plan = kept.anew(log, now, plan)
            new = NewTable(self._settings, self._name, kept.name(plan), by)
        kept.save(plan)
        kept.clear(plan)
        return plan, new

    def _is_stale(self, log: Log, plan: Plan, now: int) -> bool:
        """Whether retention or a vacuum may have taken away what it needs; with a memory, it always begins anew."""
        age = (now - parse_instant(plan.began_at)) / 1e6
        gone = any(first > plan.span.start.get(p, 0) for p, (first, _) in log.bounds().items())
        return self._remembers or gone or age > self._settings.maintenance.keep.total_seconds() / 2

    def _refuse_loss(self, live: DeltaTable, older: Older) -> None:
        count, first, last = older.count(live)
        self._replay.account.older = count
        if count and self._older is None:
            raise HeadraceError(
                f"--rebuild: {count:,} events of the table, received {_shown(first)} to {_shown(last)}, are not in the log any"
                " more: a table that is built from it would not have them",
                remedy="`--older keep` keeps these rows as they are, `--older drop` lets them go",
            )

    def _build(self, log: Log, kept: Kept, plan: Plan, new: NewTable, older: Older) -> None:
        replay, name = self._replay, self._name
        state, live = look(self._config, log, name, self._into), self._opened()
        span = Span(plan.span.start, _ends(log, plan.span, state, live, name))
        identity = kept.identity(log, plan)
        part = SpanLog(log, span, self._config.streams[name].id, identity, self._into, group=NAME)
        on_its_way = self._on_its_way(state, live)

        def sift(rows: Rows) -> pa.Table:
            return rows.table.filter(pc.invert(pc.is_in(rows.table["event_id"], value_set=on_its_way)))

        config = _with(self._config, self._into, new.settings)
        with replay.working(config, part, span, kept.state(plan), state.published, sift) as (drain, stop):
            drain.run()
            if self._older == "keep" and not replay.stopped:
                self._keep(live, new, older, identity)
            for _ in range(_ROUNDS):
                if replay.stopped:
                    return
                state, live = look(self._config, log, name, self._into), self._opened()
                ends = _ends(log, plan.span, state, live, name)
                if ends != span.end:
                    part.extend(ends)
                    stop.extend(ends)
                    drain.run()
                if not self._remembers:
                    await_configuration(self._config)
                if not replay.stopped and new.swap(live, _apps(log, live, name, ends)):
                    self._done(kept, plan, new)
                    return
        raise HeadraceError(
            f"--rebuild: the dataflow commits to '{self._into}' too often to swap the tables between two of its commits",
            remedy="raise its `commit_interval` or stop the dataflow, and run the same command again: it goes on from here",
        )

    def _on_its_way(self, state: Live, live: DeltaTable) -> pa.Array:
        """Events that the dataflow holds and has not brought to the live table: it will, after the swap."""
        held = pa.array(sorted(state.held), pa.string())
        if not len(held):
            return held
        found = [pa.array([], pa.string())]
        for batch in delta_scan(live)(["event_id"], "received_at", None, None):
            ids = pa.table(batch)["event_id"].cast(pa.string())
            found += ids.filter(pc.is_in(ids, value_set=held)).chunks
        return held.filter(pc.invert(pc.is_in(held, value_set=pa.concat_arrays(found))))

    def _keep(self, live: DeltaTable, new: NewTable, older: Older, identity: str) -> None:
        """Takes over the rows that the log has no more, those that a run before this one has not."""
        engine = duckdb.connect(config={"threads": 1})
        engine.execute("SET TimeZone = 'UTC'")
        has = open_table(new.settings, self._name)
        there = (
            None
            if has is None
            else There(
                Scanned(delta_scan(has), "received_at"), "received_at", repeats_until=older.high.replace(year=9999)
            )
        )
        writer = TableWriter(new.settings, self._name, identity, EVENTS, destination=self._into, origin="/older")
        at = (
            0
            if has is None
            else has.transaction_version(f"headrace/{quote(identity, safe='')}/{self._name}/older/0") or 0
        )
        for part in older.rows(live):
            rows = without(as_staged(part, engine), there)
            if not rows.num_rows or self._replay.stopped:
                continue
            numbered = rows.append_column("_offset", pa.array(range(at, at + rows.num_rows), pa.int64()))
            at += rows.num_rows
            writer.stage(0, numbered, at)
            if writer.bytes > self._settings.commit_bytes // 4:
                writer.commit(engine)
        if writer.rows:
            writer.commit(engine)

    def _done(self, kept: Kept, plan: Plan, new: NewTable) -> None:
        plan.finished = self._replay.account.finished = True
        kept.save(plan)
        new.forget()


def await_configuration(config: Config) -> None:
    """Returns once the dataflow, where one runs, has taken the present configuration: what it commits is by that one.

    Raises HeadraceError where it does not.
    """
    deadline = time.monotonic() + _PATIENCE
    version = config_version(config)
    while True:
        try:
            if accept(config.file, (config.data / "state" / ACCEPTED).read_bytes()).version == version:
                return
        except (OSError, ConfigError):
            pass
        try:
            with dataflow_stopped(config.data):
                return
        except HeadraceError:
            if time.monotonic() > deadline:
                raise HeadraceError(
                    "the dataflow that runs has not taken the present configuration",
                    remedy="its log says why; run this again once it has",
                ) from None
        time.sleep(0.2)


def _ends(log: Log, span: Span, state: Live, live: DeltaTable, name: str) -> dict[int, int]:
    """Up to where the table is to be built: how far the dataflow is in the live one, at least as far as it has read."""
    return {p: max(start, state.until.get(p, 0), committed(live, log, name, p)) for p, start in span.start.items()}


def _apps(log: Log, live: DeltaTable, name: str, partitions: Mapping[int, int]) -> dict[str, int]:
    app = f"headrace/{quote(log.identity, safe='')}/{name}"
    found = {f"{app}/{p}": live.transaction_version(f"{app}/{p}") for p in partitions}
    return {name: version for name, version in found.items() if version is not None}


def _with(config: Config, into: str, settings: DeltaDestination) -> Config:
    import msgspec

    return msgspec.structs.replace(config, destinations={**config.destinations, into: settings})


def _shown(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat(timespec="seconds").replace("+00:00", "Z")
