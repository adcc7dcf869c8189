"""The log: the durable, ordered, partitioned buffer between the gateway and the dataflow.

One seam (`Log`), two implementations: `embedded` (SQLite, needs no server) and `kafka`. The same contract tests run
against both. Offsets count records, are dense or increasing per partition, and never come again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from connectors.log.settings import EmbeddedLogSettings, KafkaLogSettings, LogSettings
from connectors.record import Record

__all__ = ["Block", "EmbeddedLogSettings", "KafkaLogSettings", "Log", "LogSettings", "Position", "Reader", "open_log"]


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where a record lies. `topic` is the Kafka topic, or `events` for the embedded log."""

    topic: str
    partition: int
    offset: int


class Block(msgspec.Struct, gc=False):
    """Records of one partition in offset order, with their offsets; `next_offset` is where to read on.

    `next_offset` can be past `offsets[-1] + 1` (a log may leave gaps), and a block may be empty.
    """

    partition: int
    offsets: list[int]
    records: list[Record]
    next_offset: int


class Reader(Protocol):
    """Reads partitions from offsets on. Belongs to one thread."""

    def read(self, partition: int, *, max_bytes: int) -> Block | None:
        """What can be had now, without waiting: about `max_bytes` of values, at least one record; None if nothing is there.

        Raises Transient while the log cannot be reached.
        """

    def end_offsets(self) -> dict[int, int]:
        """For each partition, the offset that the next record appended will get."""

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Publishes, for lag tools and for retention, that everything below these offsets is safe in the destinations.

        For Kafka this is the consumer group `headrace.<pipeline>`. Best effort: nothing depends on it for correctness.
        """

    def forget(self) -> None:
        """Takes back what was published: nobody reads on under this group, and retention need not wait for it."""

    def close(self) -> None: ...


class Log(Protocol):
    """Appends records and opens readers. May be shared by the threads of one process; made after a process forks."""

    @property
    def partitions(self) -> int:
        """How many partitions there are, numbered from 0."""

    def partitions_of(self, stream: str) -> Sequence[int]:
        """The partitions that may hold events of the stream with this id."""

    def place(self, partition: int) -> tuple[str, int]:
        """The Kafka topic that a partition lies in, and its number there; `events` and its own number if not in Kafka."""

    def take(self, settings: LogSettings) -> None:
        """Goes by the streams that `settings` know from now on; nothing else in them may differ."""

    @property
    def identity(self) -> str:
        """What tells this log from any other, one made anew in its place included: offsets mean nothing without it."""

    def append(self, record: Record) -> Position:
        """Returns only once the record is durable; raises Unavailable when it is not (and then it may or may not be there).

        Records of one stream with a keyed request id go to a partition that depends on that id alone, so that a repeat
        follows its original; other records are spread.
        """

    def check(self) -> None:
        """Proves that an append would work now (reachable, writable, room); raises Unavailable with the reason."""

    def reader(self, partitions: Sequence[int], start: Mapping[int, int], *, group: str) -> Reader:
        """A reader of `partitions`, each from `start[p]`, or from its beginning where `start` has none.

        `group` names the reader in `commit`: the pipeline's name.
        """

    def committed(self, group: str) -> dict[int, int]:
        """What readers of `group` last published with `Reader.commit`, by partition; empty for a new group."""

    def keyed_requests(self, partition: int, *, since: int, before_offset: int) -> list[tuple[str, str, int, int, int]]:
        """The keyed records of a partition received at or after `since` (microseconds) and below `before_offset`.

        As (stream, request id, first index, received at, offset), oldest first: what a restarted dataflow rebuilds its memory of
        Idempotency-Keys from.
        """

    def bounds(self) -> dict[int, tuple[int, int]]:
        """For each partition, the offset of the oldest record that is still there, and the one that the next will get."""

    def offsets_at(self, instant: int) -> dict[int, int]:
        """For each partition, the offset of the first record received at `instant` (microseconds) or after, or its end.

        Records are taken to be in the order of receipt; by how much they may not be is `connectors.dedupe.CLOCK_SKEW`.
        """

    def close(self) -> None: ...


def open_log(settings: LogSettings) -> Log:
    """The log that the configuration names."""
    if isinstance(settings, KafkaLogSettings):
        from connectors.log.kafka import KafkaLog

        return KafkaLog(settings)
    from connectors.log.embedded import EmbeddedLog

    return EmbeddedLog(settings)
