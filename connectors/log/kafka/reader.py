"""Reading the Kafka log: one consumer of the assigned partitions, its records in bounded buffers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError, LogTruncationError, OffsetOutOfRangeError

from connectors.errors import HeadraceError, Transient, Unavailable
from connectors.log import Block
from connectors.log.kafka.clients import failures_named, new_consumer
from connectors.log.kafka.places import Places
from connectors.log.settings import KafkaLogSettings
from connectors.logger import get_logger
from connectors.record import Record, record_from_headers

_log = get_logger()

_BUFFERED = 16_777_216  # bytes of values, over all partitions of a reader; the dataflow makes a reader a partition
_POLLED_RECORDS = 10_000
_ASK_SECONDS = 10.0
_STALLED_SECONDS = 30.0


class KafkaReader:
    """A `Reader` of partitions, which `places` finds.

    It connects at its first use, so that it can be made while the brokers are down.

    Right after it connects `read` returns None although there is something: what has been read is told by comparing
    `Block.next_offset` with `end_offsets()`. `malformed` counts records without our headers, which somebody else wrote:
    they are passed over, each position in the log of this process.
    """

    def __init__(
        self,
        settings: KafkaLogSettings,
        partitions: Sequence[int],
        start: Mapping[int, int],
        group: str,
        places: Callable[[], Places],
    ) -> None:
        self._settings = settings
        self._group = group
        self._places = places
        self._wanted = partitions
        self._parts: dict[int, TopicPartition] = {}
        self._numbers: dict[TopicPartition, int] = {}
        self._start = dict(start)
        self._consumer: KafkaConsumer | None = None
        self._committer: KafkaConsumer | None = None
        self._buffers: dict[int, deque[Any]] = {partition: deque() for partition in partitions}
        self._sizes = dict.fromkeys(partitions, 0)
        self._next: dict[int, int] = {}
        self._untold = set(partitions) - set(start)  # partitions that began at an offset which the caller does not know
        self._paused: set[int] = set()
        self._record_bytes = 65_536.0  # what a record takes, as seen lately
        self.malformed = 0

    def read(self, partition: int, *, max_bytes: int) -> Block | None:
        consumer = self._connected()
        if partition not in self._parts:  # its topic is gone
            return None
        buffer = self._buffers[partition]
        if not buffer or sum(self._sizes.values()) < _BUFFERED // 2:
            self._poll(consumer, wanted=partition)
        if buffer:
            return self._block(partition, max_bytes)
        return self._skipped(consumer, partition)

    def end_offsets(self) -> dict[int, int]:
        consumer = self._connected()
        with failures_named(self._settings, "asking where the log ends"):
            ends = consumer.end_offsets(list(self._parts.values()), timeout_ms=_ASK_SECONDS * 1000)
        gone = {partition: self._start.get(partition, 0) for partition in self._wanted}
        return gone | {partition: ends[part] for partition, part in self._parts.items()}

    def commit(self, offsets: Mapping[int, int]) -> None:
        # A client of its own: one that belongs to a group reads nothing while the group's coordinator is away.
        try:
            parts = self._places().known(offsets)
            committed = {part: OffsetAndMetadata(offsets[number], "", -1) for number, part in parts.items()}
            if self._committer is None:
                self._committer = new_consumer(self._settings, group_id=group_name(self._group))
            self._committer.commit(committed, timeout_ms=2000)
        except (KafkaError, OSError, Unavailable) as exc:
            _log.warning(
                "offsets_not_published", group=group_name(self._group), topic=self._settings.topic, error=repr(exc)
            )

    def forget(self) -> None:
        """Nothing: a topic's retention goes by time and size, and the broker lets go of groups by itself."""

    def close(self) -> None:
        for client in (self._consumer, self._committer):
            if client is not None:
                client.close(autocommit=False, timeout_ms=1000)
        self._consumer = self._committer = None

    def _connected(self) -> KafkaConsumer:
        if self._consumer is None:
            self._parts = self._places().known(self._wanted)
            self._numbers = {part: number for number, part in self._parts.items()}
            with failures_named(self._settings, "the log cannot be read"):
                consumer = new_consumer(self._settings, max_poll_records=_POLLED_RECORDS)
                try:
                    self._assign(consumer)
                except BaseException:
                    consumer.close(autocommit=False, timeout_ms=1000)
                    raise
            self._consumer = consumer
        return self._consumer

    def _assign(self, consumer: KafkaConsumer) -> None:
        parts = list(self._parts.values())
        first = consumer.beginning_offsets(parts, timeout_ms=_ASK_SECONDS * 1000)
        ends = consumer.end_offsets(parts, timeout_ms=_ASK_SECONDS * 1000)
        consumer.assign(parts)
        for partition, part in self._parts.items():
            offset = self._start.get(partition, first[part])
            self._refuse_gap(partition, offset, first[part], ends[part])
            consumer.seek(part, offset)
            self._next[partition] = offset

    def _poll(self, consumer: KafkaConsumer, *, wanted: int) -> None:
        share = _BUFFERED // max(1, len(self._parts))
        full = {partition for partition, size in self._sizes.items() if size >= share and partition != wanted}
        for change, partitions in ((consumer.pause, full - self._paused), (consumer.resume, self._paused - full)):
            if partitions:
                change(*(self._parts[partition] for partition in partitions))
        self._paused = full
        room = max(1, min(_POLLED_RECORDS, int(share / self._record_bytes)))
        try:
            with failures_named(self._settings, "the log cannot be read"):
                polled = self._polled(consumer, room)
        except Transient as exc:
            if isinstance(exc.__cause__, OffsetOutOfRangeError | LogTruncationError):
                self._explain_gap(consumer)
            raise
        for part, records in polled.items():
            size = sum(len(record.value or b"") for record in records)
            self._buffers[self._numbers[part]].extend(records)
            self._sizes[self._numbers[part]] += size
            self._record_bytes += (size / len(records) + 512 - self._record_bytes) / 4

    def _polled(self, consumer: KafkaConsumer, room: int) -> dict[TopicPartition, list[Any]]:
        polled: dict[TopicPartition, list[Any]] = consumer.poll(timeout_ms=0, max_records=room)
        return polled

    def _block(self, partition: int, max_bytes: int) -> Block:
        buffer = self._buffers[partition]
        offsets: list[int] = []
        records: list[Record] = []
        size = 0
        while buffer and (not offsets or size < max_bytes):
            raw = buffer.popleft()
            value = raw.value or b""
            size += len(value)
            self._next[partition] = raw.offset + 1
            record = self._decoded(raw)
            if record is not None:
                offsets.append(raw.offset)
                records.append(record)
        self._sizes[partition] -= size
        return Block(partition, offsets, records, self._next[partition])

    def _decoded(self, raw: Any) -> Record | None:
        record = decoded(raw)
        if isinstance(record, Record):
            return record
        self.malformed += 1
        _log.warning(
            "malformed_record_skipped",
            topic=raw.topic,
            partition=raw.partition,
            offset=raw.offset,
            why=record,
        )
        return None

    def _skipped(self, consumer: KafkaConsumer, partition: int) -> Block | None:
        """An empty block where what lies next is no record (deleted, or the marks of transactions), so that it ends."""
        position = consumer.position(self._parts[partition], timeout_ms=0)
        if position is None or (position <= self._next[partition] and not (position and partition in self._untold)):
            return None
        self._untold.discard(partition)
        self._next[partition] = position
        return Block(partition, [], [], position)

    def _explain_gap(self, consumer: KafkaConsumer) -> None:
        with failures_named(self._settings, "asking where the log begins"):
            parts = list(self._parts.values())
            first = consumer.beginning_offsets(parts, timeout_ms=_ASK_SECONDS * 1000)
            ends = consumer.end_offsets(parts, timeout_ms=_ASK_SECONDS * 1000)
        for partition, part in self._parts.items():
            if not self._buffers[partition]:
                self._refuse_gap(partition, self._next[partition], first[part], ends[part])

    def _refuse_gap(self, partition: int, wanted: int, first: int, end: int) -> None:
        part = self._parts[partition]
        where = f"partition {part.partition} of Kafka topic '{part.topic}'"
        if wanted < first:
            raise HeadraceError(
                f"{first - wanted:,} records of {where} were deleted before '{self._group}' read them"
                f" (offsets {wanted} to {first - 1})",
                remedy="raise retention.ms and retention.bytes of the topic, and start from what is left",
            )
        if wanted > end:
            raise HeadraceError(
                f"'{self._group}' has read to offset {wanted} of {where}, which ends at {end}:"
                " it is not the log that was read before, or it lost what it had acknowledged",
                remedy="restore that topic, or start the pipeline anew with other destinations",
            )


def group_name(pipeline: str) -> str:
    """The consumer group that shows how far a pipeline is."""
    return f"headrace.{pipeline}"


def decoded(raw: Any) -> Record | str:
    """The record that a Kafka message carries, or why it is none of ours."""
    if raw.value is None:
        return "it has no value"
    try:
        return record_from_headers(raw.headers, raw.value)
    except (ValueError, AttributeError) as exc:  # a header can also be null
        return f"{type(exc).__name__}: {exc}" if isinstance(exc, ValueError) else "a header is null"


def keyed_requests(
    settings: KafkaLogSettings, part: TopicPartition, *, since: int, before_offset: int
) -> list[tuple[str, str, int, int, int]]:
    """As `Log.keyed_requests`: reads the partition from the first record of that time on."""
    found: list[tuple[str, str, int, int, int]] = []
    with failures_named(settings, "reading the requests that carried a key"):
        consumer = new_consumer(settings, max_poll_records=_POLLED_RECORDS)
        try:
            consumer.assign([part])
            # The gateway's clock is the record's timestamp, in milliseconds.
            start = consumer.offsets_for_times({part: max(0, since // 1000)}, timeout_ms=_ASK_SECONDS * 1000)[part]
            end = min(before_offset, consumer.end_offsets([part], timeout_ms=_ASK_SECONDS * 1000)[part])
            if start is None or start.offset >= end:
                return found
            consumer.seek(part, start.offset)
            deadline = time.monotonic() + _STALLED_SECONDS
            while (consumer.position(part, timeout_ms=0) or start.offset) < end:
                for raw in consumer.poll(timeout_ms=200).get(part, ()):
                    record = decoded(raw)
                    if isinstance(record, Record) and record.keyed and raw.offset < end and record.received_at >= since:
                        facts = (record.stream, record.request_id, record.first_index, record.received_at, raw.offset)
                        found.append(facts)
                    deadline = time.monotonic() + _STALLED_SECONDS
                if time.monotonic() > deadline:
                    raise Transient(f"reading {part} made no progress for {_STALLED_SECONDS:g} s", remedy="try again")
        finally:
            consumer.close(autocommit=False, timeout_ms=1000)
    return found
