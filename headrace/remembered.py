"""The events of a stream with a memory as they leave its pipeline, from the log alone, as `headrace tail` shows them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from connectors.record import Record
    from flows.config import Config
    from flows.trial import EventTrace

_PAUSE = 0.2  # seconds between looks at a log with nothing new
_BYTES = 8 * 1024 * 1024
_GROUP = "headrace.looking"  # a reader's name in messages; nothing is ever committed under it


def remembered(
    config: Config, stream: str, where: str | None, last: int, *, follow: bool
) -> tuple[int, Iterator[EventTrace]]:
    """(since when the log is read, in UTC microseconds; the `last` events that leave the pipeline, then what comes).

    Windows and throttles are those of the dataflow, so far as the log holds what they reach back to: it is read from there.
    Without `follow` what is held at the log's end is given as if nothing more could come.
    """
    from connectors.log import open_log
    from connectors.log.last import last_records
    from connectors.record import now_microseconds
    from flows.trial.live import reach

    settings = config.streams[stream]
    log = open_log(config.log)
    records, ends = last_records(log, settings.id, last)
    since = records[0].received_at if records else now_microseconds()
    begin = since - round(reach(settings).total_seconds() * 1e6)

    def events() -> Iterator[EventTrace]:
        from connectors.batch import batch_of
        from connectors.log import Block
        from connectors.merging import MergedReader
        from flows.trial.live import Live

        starts, shown = log.offsets_at(begin), log.offsets_at(since) if records else ends
        window = round(settings.dedupe_window.total_seconds() * 1e6)
        until = None if follow else ends
        left_out = _before(records, last)
        with (
            closing(log),
            closing(MergedReader(log, settings.id, stream, starts, window, _GROUP, until)) as reader,
            closing(Live(stream, settings, config.default, where, shown, left_out)) as live,
        ):
            while True:
                merged = reader.read(_BYTES)
                if merged.records:
                    for lines in batch_of(Block(0, merged.places, merged.records, 0)).streams:
                        yield from live.take(lines)
                elif reader.at_end and not follow:
                    yield from live.finish()
                    return
                elif reader.at_end:
                    yield from live.tick(now_microseconds())
                    time.sleep(_PAUSE)

    return begin, events()


def _before(records: list[Record], last: int) -> frozenset[str]:
    """The ids of what the first of the records holds beyond the `last` events."""
    if not records:
        return frozenset()
    first = records[0]
    extra = sum(record.count for record in records) - last
    return frozenset(f"{first.request_id}-{first.first_index + n}" for n in range(max(0, extra)))
