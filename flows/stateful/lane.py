"""One stream with a memory at work: log -> pipeline -> store, round by round, and on to the destinations.

A round reads what has come, runs it through the pipeline and commits positions, state and rows together
(`flows.stateful.store`); then its rows go to the destinations, for which the rounds are a log of one partition. What no
destination has lost its claim to stays in the outbox.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence

import pyarrow as pa

from connectors.batch import StreamLines, batch_of
from connectors.log import Block
from connectors.logger import get_logger
from connectors.merging import MergedReader
from connectors.record import now_microseconds
from connectors.sinks import dead_letters
from connectors.sinks.base import Outcome, Rows
from connectors.source import Floors, beginning, resumed
from connectors.telemetry import EVENTS_READ
from flows.bounds import STAGE, Bounded
from flows.letters import Aside, Letters
from flows.stateful.overlap import Overlap
from flows.stateful.pipeline import Came, StatefulPipeline
from flows.stateful.store import Round, Store

_log = get_logger()

ROUND_BYTES = 16 * 1024 * 1024
"""Values read in one round: some 60,000 events of 260 bytes. A window costs less a row in larger rounds."""

_NEAR = 50  # rounds by which destinations may differ and still be handed the same after a restart
_PAUSE = 0.1  # seconds between rounds that are not full: each is a commit on the disk
_TICK = 0.5  # seconds between the looks at the clock while nothing comes
_SAVE = 5.0  # seconds after which positions are saved though nothing came out


class Lane:
    """Runs the stream whose `store` this is. Belongs to one thread. `open` it first; then `next` until stopped."""

    def __init__(
        self,
        stream: str,
        store: Store,
        reader: MergedReader,
        pipeline: StatefulPipeline,
        letters: Letters,
        bounded: Bounded,
        overlap: Overlap,
    ) -> None:
        """`stream` is its name."""
        self._overlap = overlap
        self._bounded = bounded
        self._stream = stream
        self._store = store
        self._reader = reader
        self._pipeline = pipeline
        self._letters = letters
        self._until = store.handover
        self._finished = False
        self._pause_until = 0.0
        self._tick_at = 0.0
        self._save_at = time.monotonic() + _SAVE
        self._held: Generator[tuple[int, Round], None, None] | None = None
        self._tickets: dict[str, int] = {}
        self._saved: dict[int, int] = {}
        self._floors = store.floors
        self._last_received = self._ticked = 0
        self.number = store.lane
        self.handed_over = store.first_round()

    def open(self, destinations: Sequence[str]) -> Floors:
        """Takes up the state; gives the round from which on each destination wants what there is.

        What the outbox holds from `handed_over` on is the first to be handed on to all.
        """
        known = self._pipeline.definitions()
        kept = self._store.steps()
        self._pipeline.restore({key: self._store.pieces(key) for key in known if key in kept})
        if (
            kept
        ):  # what it holds may still wait for silence: since when there was none of it, this process does not know
            self._last_received = now_microseconds()
        self._saved = self._store.positions
        self._reader.commit(self._saved)  # retention keeps what is not read yet
        orphans = [key for key in kept if key not in known]
        if orphans:
            self._release(orphans, kept)
        floors = resumed(self._floors or None, destinations, self.handed_over)
        self.handed_over = beginning(floors, near=_NEAR)
        self._held = self._store.rounds(self.handed_over)
        return floors

    def _release(self, orphans: Sequence[str], kept: Mapping[str, bytes]) -> None:
        """A step that was changed or taken away gives up what it held, and the events go on through the new pipeline."""
        came = Came()
        for key in orphans:
            came = came.joined(self._pipeline.take_up(kept[key], self._store.pieces(key)))
        _log.info("steps with a memory have changed: what they held goes on", steps=len(orphans))
        self._commit(self._saved, came, gone=orphans)

    def next(self, *, reading: bool) -> Outcome | None:
        """The next round's rows; None where there is nothing now.

        Without `reading` the log is left alone. Raises Transient while the log cannot be read; sqlite3.Error and OSError
        where the round cannot be written.
        """
        stored = None if self._held is None else next(self._held, None)
        if stored is not None:
            return self._handed(*stored)
        if self._finished or time.monotonic() < self._pause_until:
            return None
        if self._until is not None and not self.read_to():
            return self._finish()
        merged = self._reader.read(ROUND_BYTES) if reading else None
        if merged is not None and merged.records:
            self._last_received = max(self._last_received, *(record.received_at for record in merged.records))
            size = sum(len(record.value) for record in merged.records)
            self._pause_until = 0.0 if size >= ROUND_BYTES // 4 else time.monotonic() + _PAUSE
            block = Block(0, merged.places, merged.records, 0)
            return self._handed(*self._commit(merged.positions, self._take(batch_of(block).streams)))
        if (merged is None or self._reader.at_end) and time.monotonic() >= self._tick_at:
            return self._tick(self._saved if merged is None else merged.positions)
        return None

    def _finish(self) -> Outcome | None:
        """All that was to be read here has been: what is held goes on, and nothing is remembered any more."""
        self._finished = True
        self._reader.forget()
        kept = self._store.steps()
        outcome = self._handed(*self._commit(self._saved, self._pipeline.finish(), gone=list(kept))) if kept else None
        self._store.finish()
        return outcome

    def _tick(self, positions: Mapping[int, int]) -> Outcome | None:
        self._tick_at = time.monotonic() + _TICK
        self._ticked = now_microseconds()
        came = self._pipeline.tick(self._ticked)
        if came or (positions != self._saved and time.monotonic() >= self._save_at):
            return self._handed(*self._commit(positions, came))
        return None

    def waits(self) -> bool:
        """Whether silence may yet bring rows: the stream has not been silent for long enough."""
        return not self._finished and self._ticked < self._last_received + self._pipeline.idle

    def _take(self, streams: Sequence[StreamLines]) -> Came:
        came = Came()
        for lines in streams:
            done, refused = self._bounded.run(lines, self._pipeline.take)
            for part in done:
                came = came.joined(part)
            for reason, never in refused:
                EVENTS_READ.labels(self._stream).inc(never.table.num_rows)
                came.letters.append(Aside(STAGE, never.table, reason, lines.to))
        return came

    def _commit(self, positions: Mapping[int, int], came: Came, gone: Sequence[str] = ()) -> tuple[int, Round]:
        number = self._store.round + 1
        rows = {name: [self._overlap.marked(part) for part in parts] for name, parts in came.rows.items()}
        asides = (self._letters.of(self._stream, aside, counted_as=self._stream) for aside in came.letters)
        letters = [letters for aside in asides if (letters := self._overlap.fresh(aside)).table.num_rows]
        if letters:
            rows.setdefault(dead_letters.NAME, []).extend(letters)
        numbered = {
            name: [Rows(part.stream, _numbered(part.table, number)) for part in parts] for name, parts in rows.items()
        }
        if self._finished:
            self._store.commit(positions, {}, {}, numbered, gone)
        else:
            self._store.commit(positions, self._pipeline.definitions(), self._pipeline.changes(), numbered, gone)
            self._reader.commit(positions)
        self._saved = dict(positions)
        self._save_at = time.monotonic() + _SAVE
        return number, numbered

    def _handed(self, number: int, rows: Round) -> Outcome:
        start, self.handed_over = self.handed_over, number + 1
        return Outcome(self.number, self.handed_over, rows, start=start, size=_size(rows))

    def again(self, destination: str, since: int, reached: int) -> Outcome | None:
        """The next rows of a destination that is behind, from the round `since` on; None while the last are on their way.

        `reached` is the ticket of the last that arrived.
        """
        ticket = self._tickets.get(destination, 0)
        if reached < ticket:
            return None
        self._tickets[destination] = ticket = ticket + 1
        found = self._store.next_round(since, destination)
        number, rows = (self.handed_over - 1, Round()) if found is None else found
        return Outcome(self.number, number + 1, rows, start=since, only=destination, ticket=ticket, size=_size(rows))

    def read_to(self) -> dict[int, int]:
        """How far each partition of the log has been read of which there is anything to read here."""
        until = self._until
        return {p: at for p, at in self._reader.positions.items() if until is None or at < until.get(p, 0)}

    def save(self, floors: Mapping[str, int]) -> None:
        """The destinations are so far."""
        if floors != self._floors:
            self._store.save_floors(floors)
            self._floors = dict(floors)

    def close(self) -> None:
        if self._held is not None:
            self._held.close()
        self._reader.close()
        self._store.close()


def _numbered(table: pa.Table, number: int) -> pa.Table:
    at = table.column_names.index("_offset")
    return table.set_column(at, "_offset", pa.repeat(pa.scalar(number, pa.int64()), table.num_rows))


def _size(rows: Round) -> int:
    return sum(part.table.nbytes for parts in rows.values() for part in parts)
