"""From records to lines: which event each line is, and that the text beside them is the same lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connectors.batch import batch_of
from connectors.log import Block
from connectors.record import Record

VALUES = st.lists(st.sampled_from([b"{}", b"", b'{"a":1}', '{"ä":"😀"}'.encode(), b"x" * 300]), min_size=1, max_size=4)


@given(st.lists(st.tuples(st.sampled_from("ab"), VALUES, st.integers(0, 3)), max_size=12))
def test_a_line_is_of_its_record_and_has_its_place_in_it(given_records: list[tuple[str, list[bytes], int]]) -> None:
    records = [
        Record(stream, f"r{number}", 1_000 + number, len(lines), b"\n".join(lines), first)
        for number, (stream, lines, first) in enumerate(given_records)
    ]
    offsets = [10 + 3 * number for number in range(len(records))]
    batch = batch_of(Block(0, offsets, records, 100))
    assert [part.stream for part in batch.streams] == list(dict.fromkeys(record.stream for record in records))
    for part in batch.streams:
        of = [(number, one) for number, one in enumerate(given_records) if one[0] == part.stream]
        expected = [
            (f"r{number}", first + place, offsets[number], line.decode())
            for number, (_, lines, first) in of
            for place, line in enumerate(lines)
        ]
        rows = part.table.to_pylist()
        assert [(row["request_id"], row["index"], row["_offset"], row["line"]) for row in rows] == expected
        assert [row["received_at"].microsecond for row in rows] == [1_000 + int(row["request_id"][1:]) for row in rows]
        assert part.ndjson.decode() == "\n".join(row["line"] for row in rows)


def test_what_is_no_text_is_a_line_all_the_same() -> None:
    [part] = batch_of(Block(0, [4], [Record("s", "r", 1, 2, b"\xff\xfe\n{}")], 5)).streams
    assert part.table.column("line").to_pylist() == ["\ufffd\ufffd", "{}"]
    assert part.ndjson == b"\xff\xfe\n{}"
