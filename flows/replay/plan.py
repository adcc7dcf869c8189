"""What one replay is, and what is kept of it, so that the same command goes on where it was.

Its identity is what was asked for: the stream, the destination, the texts of --from and --to, the configuration, the log.
What the texts meant is decided once and kept, or a replay of `2h` that is started again would mean another two hours.
The plans stay, of some hundred bytes each. The state of a replay goes when it is complete; of one without an end, which is
gone on with, when another brings the stream to the same destination.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from connectors.errors import HeadraceError
from connectors.log import Log
from connectors.log.span import Span
from connectors.record import format_instant
from flows.config import Config, config_version
from flows.replay.places import Instant, Missing, Place, span_of

_FILE = "plan.json"


class Asked(msgspec.Struct, frozen=True):
    """What a person asked for. `begin` and `end` are the texts of --from and --to, `start` and `stop` what they mean now."""

    stream: str
    into: str
    begin: str | None = None
    end: str | None = None
    start: Place | None = None
    stop: Place | None = None
    rebuild: bool = False
    older: str | None = None


class Plan(msgspec.Struct):
    """`span` is what is replayed; once it is `finished`, all of it is safe in the destination."""

    stream: str
    into: str
    begin: str | None
    end: str | None
    version: str
    span: Span
    missing: Missing
    began_at: str
    run: int = 1
    finished: bool = False


class Kept:
    """The directory of one replay: its plan and its state."""

    def __init__(self, config: Config, log: Log, asked: Asked) -> None:
        version = config_version(config)
        self._stream_id = config.streams[asked.stream].id
        facts = [log.identity, self._stream_id, asked.into, asked.begin, asked.end, version]
        text = msgspec.json.encode([*facts, asked.rebuild, asked.older])
        self.id = hashlib.sha256(text).hexdigest()[:12]
        self.directory = config.data / "state" / "replays" / self.id
        self._version = version
        self._asked = asked

    @property
    def lock_file(self) -> Path:
        """One replay at a time brings a stream to a destination."""
        return self.directory.parent / f"{self._asked.stream}.{self._asked.into}.lock"

    def plan(self, log: Log, now: int) -> Plan:
        """The plan to go by: the one that is kept, or a new one where there is none, or what it asks for has moved on.

        Raises HeadraceError where it cannot be.
        """
        kept = _read(self.directory)
        if kept is None:
            return self.anew(log, now)
        moves = [place for place in (self._asked.start, self._asked.stop) if isinstance(place, Instant) and place.ago]
        if kept.finished and (self._asked.rebuild or (isinstance(self._asked.stop, Instant) and moves)):
            return self.anew(log, now, kept)
        if kept.finished and self._asked.stop is None:  # what has come since
            span, _ = span_of(log, self._stream_id, self._asked.start, None)
            end = {p: max(at, kept.span.end.get(p, 0)) for p, at in span.end.items()}
            begun = kept.span.start if self.state(kept).exists() else kept.span.end
            start = {p: begun.get(p, at) for p, at in span.start.items()}
            since = msgspec.structs.replace(kept.span, start=start, end=end)
            kept.finished = since.end == kept.span.end
            kept.span = since
        return kept

    def name(self, plan: Plan) -> str:
        """What the plan's run is called."""
        return self.id + (f"-{plan.run}" if plan.run > 1 else "")

    def identity(self, log: Log, plan: Plan) -> str:
        """What the log is called in the destinations where this replay writes: its offsets are its own."""
        return f"{log.identity}/replay/{self.name(plan)}"

    def state(self, plan: Plan) -> Path:
        """Where the state of the stream's steps lies."""
        return self.directory / str(plan.run)

    def save(self, plan: Plan) -> None:
        """Keeps the plan, whole or not at all."""
        self.directory.mkdir(parents=True, exist_ok=True)
        fresh = self.directory / (_FILE + ".new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(plan))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.directory / _FILE)
        if plan.finished and plan.end is not None:
            _remove(self.state(plan))

    def clear(self, plan: Plan) -> None:
        """Removes the state of this replay's earlier runs, and of the complete ones of the stream into the destination.

        Its caller holds the lock, so none of them runs.
        """
        for directory in self.directory.parent.iterdir():
            if directory.is_dir() and (directory == self.directory or _is_complete(directory, plan)):
                for run in directory.iterdir():
                    if run.is_dir() and run != self.state(plan):
                        _remove(run)

    def anew(self, log: Log, now: int, last: Plan | None = None) -> Plan:
        """A plan that owes nothing to the last one."""
        asked, run = self._asked, 1 if last is None else last.run + 1
        span, missing = span_of(log, self._stream_id, asked.start, asked.stop)
        texts = (asked.stream, asked.into, asked.begin, asked.end, self._version)
        return Plan(*texts, span, missing, format_instant(now), run)


def _read(directory: Path) -> Plan | None:
    try:
        return msgspec.json.decode((directory / _FILE).read_bytes(), type=Plan)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, OSError) as exc:
        raise HeadraceError(
            f"the state of the replay in {directory} cannot be read: {exc}",
            remedy="move the directory away: it begins anew, and tables skip what they have",
        ) from exc


def _is_complete(directory: Path, plan: Plan) -> bool:
    """Whether it holds a replay that is finished, of the plan's stream into its destination."""
    try:
        kept = _read(directory)
    except HeadraceError:  # for who asks for that one to mend
        return False
    return kept is not None and kept.finished and (kept.stream, kept.into) == (plan.stream, plan.into)


def _remove(directory: Path) -> None:
    """Under another name first: half of a state is none."""
    gone = directory.with_suffix(".gone")
    with suppress(OSError):
        directory.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


@contextmanager
def only_one(file: Path) -> Iterator[None]:
    """Holds the lock until the block ends; HeadraceError where another has it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HeadraceError(
                "another replay of this stream into this destination runs", remedy="wait for it, or stop it first"
            ) from None
        yield
