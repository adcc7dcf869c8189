"""A replay from beginning to end: what is asked for, what is there, a drain of the span, an account of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from connectors.dedupe import CLOCK_SKEW
from connectors.errors import HeadraceError
from connectors.log import Log, open_log
from connectors.log.seeking import oldest_received
from connectors.log.span import Span, SpanLog
from connectors.record import now_microseconds
from connectors.sinks import dead_letters
from connectors.sinks.base import Rows
from connectors.sinks.settings import DeltaDestination
from connectors.sinks.there import letters_of
from connectors.source import Stop
from flows.config import Config, Stream, config_version
from flows.destinations import open_writers
from flows.graph import NAME, Parts, wire
from flows.replay.account import Account, Count
from flows.replay.drain import Drain, Floors
from flows.replay.live import Live, gives_events, gives_rollups, look
from flows.replay.missing import Missing, Sifted
from flows.replay.plan import Asked, Kept, only_one
from flows.replay.rebuild import Rebuild
from flows.replay.tables import Tables
from flows.routes import Route


class Progress(msgspec.Struct, frozen=True):
    """How far a replay is: records of the log, of how many."""

    done: int
    total: int


class Replay:
    """One replay of `asked` under `config`. `run` does it, `stop` ends it cleanly from a signal handler or a thread."""

    def __init__(self, config: Config, asked: Asked, tell: Callable[[Progress], None] = lambda _: None) -> None:
        """Raises HeadraceError where there is no such stream or destination."""
        if asked.stream not in config.streams:
            known = ", ".join(sorted(config.streams)) or "none"
            raise HeadraceError(f"there is no stream '{asked.stream}' in {config.file}", remedy=f"its streams: {known}")
        if asked.into not in config.destinations:
            known = ", ".join(sorted(config.destinations)) or "none"
            raise HeadraceError(
                f"--into: there is no destination '{asked.into}' in {config.file}", remedy=f"its destinations: {known}"
            )
        self._config = config
        self._asked = asked
        self._tell = tell
        self._stop: Stop | None = None
        self.stopped = False
        self.account = Account(asked.stream, asked.into, "")

    def stop(self) -> None:
        """Ends reading; what was read is committed first."""
        self.stopped = True
        if self._stop is not None:
            self._stop.request()

    def run(self) -> Account:
        """Does it, or what is left of it. Raises HeadraceError."""
        began = time.monotonic()
        log = open_log(self._config.log)
        try:
            kept = Kept(self._config, log, self._asked)
            with only_one(kept.lock_file):
                self._run(log, kept)
        finally:
            log.close()
            self.account.seconds = round(time.monotonic() - began, 3)
        return self.account

    def _run(self, log: Log, kept: Kept) -> None:
        self.account.id = kept.id
        tables = Tables(self._config, self._asked.stream, self._asked.into, _repeats_until(log, self._stream))
        if self._asked.rebuild:
            Rebuild(self, self._config, self._asked.stream, self._asked.into, self._asked.older).run(log, kept)
            return
        plan = kept.plan(log, now_microseconds())
        if plan.finished and tables.is_gone:
            plan = kept.anew(log, now_microseconds(), plan)
        kept.save(plan)
        kept.clear(plan)
        state = look(self._config, log, self._asked.stream, self._asked.into)
        live = state if self._is_brought_to else None
        span = _left(plan.span if live is None else _below(plan.span, live), log)
        account = self.account
        account.missing, account.left = plan.missing.count, plan.span.size - _below(plan.span, live).size if live else 0
        account.start, account.end = span.start, span.end
        if plan.finished:
            account.finished = True
            return
        only = self._asked.into if self._is_brought_to else None
        part = SpanLog(log, span, self._stream.id, kept.identity(log, plan), only, group=NAME)
        missing = Missing(self._asked.stream, tables.there, live)
        with self.working(self._config, part, span, kept.state(plan), state.published, missing) as (drain, _):
            drain.run()
        account.finished = not self.stopped
        plan.finished = account.finished
        kept.save(plan)

    @property
    def _stream(self) -> Stream:
        return self._config.streams[self._asked.stream]

    @property
    def _is_brought_to(self) -> bool:
        """Whether the dataflow brings something of the stream to the destination."""
        into = self._asked.into
        return gives_events(self._stream, into) or gives_rollups(self._stream, into)

    @contextmanager
    def working(
        self,
        config: Config,
        part: SpanLog,
        span: Span,
        state: Path,
        published: Mapping[int, int],
        sift: Callable[[Rows], pa.Table],
    ) -> Iterator[tuple[Drain, Stop]]:
        """The parts of a dataflow that takes `part` of the log to the destination, of whose rows `sift` lets some through.

        Of dead letters only those come that are not there and, past `published`, are not the dataflow's to make.
        """
        self._stop = stop = Stop(span.end)
        if self.stopped:
            stop.request()
        name, into = self._asked.stream, self._asked.into
        letters = letters_of(DeltaDestination(uri=str(config.data / dead_letters.NAME), partition_by=()), name)
        writers = open_writers(config, part, only=into, fresh=letters.fresh)
        writers[into] = Sifted(writers[into], sift)
        writers[dead_letters.NAME] = Sifted(
            writers[dead_letters.NAME], lambda rows: letters.fresh(_not_theirs(rows.table, published))
        )
        parts = wire(derived(config, name, into, state), part, stop, writers, version=config_version(self._config))
        count = Count(name, into)
        floors = Floors(state / "floors.json")
        drain = Drain(parts, floors, stop, seen=count.see, tell=lambda: self._told(parts, span))
        try:
            yield drain, stop
        finally:
            count.settle(self.account)
            drain.close()

    def _told(self, parts: Parts, span: Span) -> None:
        at = {p: parts.progress.floor(p, span.start[p]) for p in parts.partitions}
        self._tell(Progress(span.done(at), span.size))


def derived(config: Config, name: str, into: str, state: Path) -> Config:
    """The configuration that a replay of one stream into one destination runs by; its state lies in `state`.

    What the stream's routes and rollups give the destination it gets; all that the pipeline keeps where they do not
    know it.
    """
    stream = config.streams[name]
    if gives_events(stream, into) or gives_rollups(stream, into):
        rollups = tuple(rollup for rollup in stream.rollups if into in rollup.to)
        stream = msgspec.structs.replace(stream, rollups=rollups)
    else:
        stream = msgspec.structs.replace(stream, routes=(Route(to=(into,)),), rollups=())
    return msgspec.structs.replace(config, streams={name: stream}, data=state)


def _left(span: Span, log: Log) -> Span:
    """The part of the span that the log still has: of one that is gone on with, some may be deleted by now."""
    first = {p: begin for p, (begin, _) in log.bounds().items()}
    start = {p: min(max(at, first.get(p, at)), span.end[p]) for p, at in span.start.items()}
    return msgspec.structs.replace(span, start=start)


def _below(span: Span, live: Live) -> Span:
    """The part of the span that is not the dataflow's to bring."""
    end = {p: max(span.start[p], min(at, live.until.get(p, 0))) for p, at in span.end.items()}
    return msgspec.structs.replace(span, end=end)


def _repeats_until(log: Log, stream: Stream) -> datetime | None:
    """Up to when a request may repeat one that retention has deleted; None where it has deleted none."""
    first = {p: begin for p, (begin, end) in log.bounds().items() if begin and begin < end}
    if not first:
        return None
    oldest = max(oldest_received(log, first))
    return datetime.fromtimestamp((oldest + CLOCK_SKEW) / 1e6, UTC) + stream.dedupe_window


def _not_theirs(letters: pa.Table, published: Mapping[int, int]) -> pa.Table:
    """Without the dead letters of the pipeline that the dataflow has yet to make itself."""
    if not published or not letters.num_rows:
        return letters
    until = [published.get(partition, 0) for partition in letters["partition"].to_pylist()]
    return letters.filter(pc.less(letters["offset"], pa.array(until, pa.int64())))
