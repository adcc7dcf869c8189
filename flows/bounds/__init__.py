"""What a pipeline may take over a batch, and what becomes of an event over which it takes more.

SQL over one vector cannot be interrupted, and what a text function makes is not in the engine's own accounts of memory.
So a batch that goes too far ends the process: first it is written down which events were in hand, and the process that is
started next takes these in ever smaller parts, until the one at fault stands alone and becomes a dead letter. What was not
committed is read again, as after any crash, so nothing is lost or doubled; that an event was refused is on the disk before
any row of its batch is handed over, so it stays refused. Nothing of this costs a batch that stays within its bounds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

import duckdb

from connectors.batch import StreamLines
from connectors.logger import get_logger
from flows.bounds.journal import Events, Journal
from flows.columns import STREAM, dotted
from flows.exits import EXIT_BOUNDS
from flows.recovery import state_of_log
from flows.stateful.operator import Flat
from flows.watchdog import Bounds, Watchdog

__all__ = ["STAGE", "Bounded", "Bounds", "Journal", "bounded_trial", "journals"]

STAGE = "bounds"
"""The stage of the dead letters."""

_PART = 6.0  # a part of what went too far may take so much less time: most of it is innocent
_FAILURES = (duckdb.DataError, duckdb.OutOfMemoryException, duckdb.InvalidInputException, MemoryError)

_log = get_logger()
_watchdog = Watchdog()

Out = TypeVar("Out")


class Bounded:
    """Runs a stream's work over events whose places `journal` knows. Belongs to one thread.

    What a step with a memory lets go is work over those events, whatever was in hand when it did: a `run` within another.
    """

    def __init__(self, journal: Journal, bounds: Bounds | None = None) -> None:
        self._journal = journal
        self._bounds = bounds or Bounds.from_environment()

    def run(
        self, events: Events, work: Callable[[Events], Out], *, again: bool = False
    ) -> tuple[list[Out], Sequence[tuple[str, Events]]]:
        """What `work` makes of the events, in order and perhaps in parts; and why it never gets others, and which.

        Events that are worked on `again`, for a destination that fell behind, have been well once: they are given twice
        as much, since the dead letters may have gone past them.
        """
        pieces, refused = self._journal.pieces(events)
        share = (1.0 if len(pieces) == 1 else 1 / _PART) * (2.0 if again else 1.0)
        done = []
        for piece in pieces:
            bounds = Bounds(self._bounds.seconds * share, self._bounds.megabytes * (2.0 if again else 1.0))
            with _watchdog.over(bounds, partial(self._end, piece)):
                try:
                    done.append(work(piece))
                except _FAILURES as exc:
                    # The engine's own words may repeat what the event holds.
                    self._end(piece, f"failed ({type(exc).__name__})")
        return done, refused

    def _end(self, events: StreamLines | Flat, reason: str) -> NoReturn:
        alone = self._journal.blame(events, f"the pipeline {reason} over this event")
        _log.error(
            "an event becomes a dead letter" if alone else "a pipeline went too far; starting again to find the event",
            stream=events.stream if isinstance(events, StreamLines) else events.table.column(dotted(STREAM))[0].as_py(),
            events=events.table.num_rows,
            reason=reason,
        )
        sys.stderr.flush()
        os._exit(EXIT_BOUNDS)


def journals(data: Path, log_identity: str) -> Path:
    """Where the journals of a log lie."""
    return state_of_log(data, log_identity) / "bounds"


@contextmanager
def bounded_trial(doing: Callable[[], str]) -> Iterator[None]:
    """Ends a command that tries a pipeline where that goes too far: what it was `doing`, and the reason, on stderr."""

    def end(reason: str) -> NoReturn:
        sys.stderr.write(
            f"headrace: {doing()} {reason} over these events;"
            " an expression makes too much of one of them: look at what repeats, replaces or nests\n"
        )
        sys.stderr.flush()
        os._exit(1)

    with _watchdog.over(Bounds.from_environment(), end):
        yield
