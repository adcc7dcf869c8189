"""Which configuration an event goes through: the one that was in force when its record was first read.

A destination that is behind reads records again, and so does every one after a crash. Were they to go through a
configuration that came meanwhile, an event could reach a destination that it was never on its way to, or none at all. So
the pipelines of earlier configurations are kept for each partition of the log, with the offset up to which each was in
force, until all destinations are past it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from connectors.batch import StreamLines
from connectors.errors import ConfigError, HeadraceError
from connectors.logger import get_logger
from connectors.whole import write_whole
from flows.config import Config, Stream, config_version
from flows.kept import revived, to_keep
from flows.lookups.table import LookupFailed
from flows.lookups.watched import Watched, watch
from flows.position import Position, noted
from flows.stateful.lanes import remembers

_log = get_logger()


class Pipelines(msgspec.Struct, frozen=True):
    """What one configuration makes of events: its streams by name, and where those go that no route takes."""

    version: str
    streams: dict[str, Stream]
    default: str | None

    def leaves(self, stream: str) -> bool:
        """Whether it leaves events of the stream with this id to a lane, as one with a memory."""
        return any(one.id == stream and remembers(one) for one in self.streams.values())

    def makes_the_same(self, other: Pipelines) -> bool:
        """Whether both make the same of all events."""
        return (self.streams, self.default) == (other.streams, other.default)


def pipelines_of(config: Config, version: str | None = None) -> Pipelines:
    """Those of a configuration, which dead letters name by `version` (default: its own)."""
    return Pipelines(version or config_version(config), config.streams, config.default)


class _Term(msgspec.Struct, frozen=True):
    """Pipelines that were in force up to the offset `until`, from where those before them were no more."""

    until: int
    pipelines: Pipelines


class _Note(msgspec.Struct, frozen=True):
    """Of one partition: the pipelines in force, and those before them, oldest first."""

    now: Pipelines
    earlier: tuple[_Term, ...] = ()


class Terms(Protocol):
    """Tells which pipelines the events of a partition go through, but for those that are read in lanes."""

    @property
    def now(self) -> Pipelines:
        """The pipelines of what is read for the first time."""

    @property
    def known(self) -> Sequence[Pipelines]:
        """All that events may go through, `now` last."""

    def cut(self, lines: StreamLines, partition: int) -> Iterator[tuple[Pipelines, StreamLines]]:
        """The lines, which are in log order and not none, by the pipelines that they go through."""

    def handed(self, partition: int) -> int | None:
        """Past which offset nobody had been handed anything of a partition when reading began; None: it is not known."""

    def passes(self, partition: int, offset: int) -> None:
        """What has become of the events below `offset` is about to be handed on. Raises HeadraceError."""


class OnlyNow:
    """All goes through one configuration, whatever was read before (implements `Terms`)."""

    def __init__(self, now: Pipelines) -> None:
        self.now = now
        self.known = (now,)

    def cut(self, lines: StreamLines, partition: int) -> Iterator[tuple[Pipelines, StreamLines]]:  # noqa: ARG002 -- as `Terms`
        """See `Terms`."""
        yield self.now, lines

    def handed(self, partition: int) -> int | None:  # noqa: ARG002 -- as `Terms`
        """See `Terms`."""
        return None

    def passes(self, partition: int, offset: int) -> None:
        """See `Terms`."""


class InForce:
    """The notes in `directory` of the partitions that a process reads (implements `Terms`, `connectors.source.Course`)."""

    def __init__(self, directory: Path, partitions: Sequence[int], now: Pipelines, end: Callable[[int], int]) -> None:
        """`end` gives the offset at which a partition ends at present. Raises HeadraceError."""
        self.now = now
        self._directory = directory
        self._end = end
        self._notes = {partition: _read(self._file(partition)) for partition in partitions}
        self._positions: dict[int, Position] = {}
        self._earlier: dict[int, tuple[_Term, ...]] = {}
        self._lookups: list[Watched] = []  # of earlier pipelines: what was read of them stays when their files go

    @property
    def known(self) -> Sequence[Pipelines]:
        """See `Terms`."""
        notes = [note for note in self._notes.values() if note is not None]
        return [*(p for note in notes for p in (*(term.pipelines for term in note.earlier), note.now)), self.now]

    def begin(self, partition: int, floor: int, gone: Mapping[str, int]) -> None:
        """See `connectors.source.Course`."""
        file, known = self._file(partition), self._notes[partition]
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            position = Position(file.with_suffix(".position"), partial(self._end, partition))
            kept = _Note(_to_keep(self.now)) if known is None else _gone_on(known, self.now, position.handed, floor)
            if kept != known:
                write_whole(file, pickle.dumps(kept))
        except OSError as exc:
            raise self._cannot_write(exc) from exc
        self._positions[partition], self._notes[partition] = position, kept
        self._earlier[partition] = tuple(filter(None, map(self._revived, kept.earlier)))
        if kept.earlier:
            until = {term.pipelines.version: term.until for term in kept.earlier}
            _log.info("what was read before goes through the configuration of then", partition=partition, until=until)
        for name, at in gone.items():
            if at < position.handed and "/" not in name:  # a version before this had several for the dead letters
                what = "a destination was taken out; what it may still have had to get goes nowhere"
                _log.warning(what, destination=name, partition=partition, records_at_most=position.handed - at)

    def handed(self, partition: int) -> int | None:
        """Past which offset nobody had been handed anything of a partition when the processes of this host began.

        None where it has never been read on this host.
        """
        file = self._file(partition).with_suffix(".position")
        try:
            return noted(file, partial(self._end, partition))
        except OSError as exc:
            raise HeadraceError(f"reading {file}: {exc.strerror}", remedy="mend its permissions") from exc

    def passes(self, partition: int, offset: int) -> None:
        """See `Terms`."""
        try:
            self._positions[partition].passes(offset)
        except OSError as exc:
            raise self._cannot_write(exc) from exc

    def stops(self, partition: int) -> None:
        """See `connectors.source.Course`."""
        try:
            self._positions[partition].stops()
        except OSError as exc:
            raise self._cannot_write(exc) from exc

    def cut(self, lines: StreamLines, partition: int) -> Iterator[tuple[Pipelines, StreamLines]]:
        """See `Terms`."""
        offsets = lines.table.column("_offset")
        first, last = offsets[0].as_py(), offsets[-1].as_py()
        begin = first
        for term in self._earlier[partition]:
            # A stream that had a memory then: what its lane has not read is for those that come after.
            if begin < term.until and not term.pipelines.leaves(lines.stream):
                yield term.pipelines, _between(lines, begin, term.until, first, last)
                begin = term.until
            if begin > last:
                return
        yield self.now, _between(lines, begin, last + 1, first, last)

    def _revived(self, term: _Term) -> _Term | None:
        """The term as events can go by it; None, and it is said, where they cannot."""
        try:
            streams = {name: revived(stream) for name, stream in term.pipelines.streams.items()}
            self._lookups += [watch(*named) for stream in streams.values() for named in stream.lookups.items()]
        except (ConfigError, LookupFailed) as exc:
            what = "an earlier configuration cannot be gone by; what was read under it goes through the present one"
            _log.error(what, until=term.until, reason=str(exc))
            return None
        return _Term(term.until, msgspec.structs.replace(term.pipelines, streams=streams))

    def _file(self, partition: int) -> Path:
        return self._directory / f"{partition}.pickle"

    def _cannot_write(self, exc: OSError) -> HeadraceError:
        remedy = "make room, or mend its permissions"
        return HeadraceError(f"writing below {self._directory}: {exc.strerror}", remedy=remedy)


def _between(lines: StreamLines, begin: int, end: int, first: int, last: int) -> StreamLines:
    """The lines from offset `begin` up to `end`, of those from `first` to `last`."""
    if begin <= first and last < end:
        return lines
    offsets = lines.table.column("_offset")
    return lines.where(pc.and_(pc.greater_equal(offsets, begin), pc.less(offsets, pa.scalar(end, pa.int64()))))


def _gone_on(known: _Note, now: Pipelines, handed: int, floor: int) -> _Note:
    """The note once `now` is in force from `handed` on, where some destination is at `floor` and none behind it."""
    now, earlier = _to_keep(now), known.earlier
    if not known.now.makes_the_same(now) and handed > max((term.until for term in earlier), default=floor):
        earlier = (*earlier, _Term(handed, known.now))
    return _Note(now, tuple(term for term in earlier if term.until > floor))


def _to_keep(pipelines: Pipelines) -> Pipelines:
    streams = {name: to_keep(stream) for name, stream in pipelines.streams.items()}
    return msgspec.structs.replace(pipelines, streams=streams)


def _read(file: Path) -> _Note | None:
    try:
        found = pickle.loads(file.read_bytes())  # noqa: S301 -- ours, in the state directory, as the engine's own store is
    except FileNotFoundError:
        return None
    except Exception as exc:  # noqa: BLE001 -- of another version of headrace, or damaged: it says nothing to us
        _log.error(
            "which configuration was in force cannot be read; all goes through the present one",
            file=str(file),
            reason=str(exc),
        )
        return None
    return found if isinstance(found, _Note) else None
