"""A part of a log: no further than its end, and on from there once that is later."""

from __future__ import annotations

from pathlib import Path

from connectors.log import EmbeddedLogSettings, open_log
from connectors.log.span import Span, SpanLog
from tests.log.records import record


def test_a_part_that_is_extended_goes_on_where_it_ended_although_the_log_had_more(tmp_path: Path) -> None:
    log = open_log(EmbeddedLogSettings(path=tmp_path, partitions=1))
    stream = record().stream
    for number in range(10):
        log.append(record(b"%d" % number))
    part = SpanLog(log, Span({0: 1}, {0: 4}), stream, "a part", group="p")
    reader = part.reader([0], {}, group="g")
    values: list[bytes] = []

    def read() -> list[bytes]:
        block = reader.read(0, max_bytes=1_000_000)
        while block is not None:
            values.extend(each.value for each in block.records)
            block = reader.read(0, max_bytes=1_000_000)
        return values

    assert read() == [b"1", b"2", b"3"]
    for end, expected in ((6, 5), (6, 5), (9, 8)):
        part.extend({0: end})
        assert read() == [b"%d" % number for number in range(1, expected + 1)]
    log.append(record(b"10"))
    part.extend({0: 11})
    assert read() == [b"%d" % number for number in range(1, 11)]
    log.close()
