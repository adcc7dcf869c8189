"""One stream read from all partitions: everything once, in the order of receipt, whatever the partitions' pace."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.log import EmbeddedLogSettings, open_log
from connectors.merging import MergedReader, place
from connectors.record import Record, keyed_request_id, new_request_id

MINE, OTHER = "11111111-2222-4333-8444-555555555555", "99999999-2222-4333-8444-555555555555"


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=60), st.integers(1, 5), st.integers(1, 60))
def test_a_backlog_comes_in_the_order_of_receipt(sent: list[tuple[int, bool]], partitions: int, cut: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        log = open_log(EmbeddedLogSettings(path=Path(directory), partitions=partitions))
        at, expected = 1_000_000, []
        for number, (pause, mine) in enumerate(sent):
            at += pause
            if mine:
                expected.append((at, number))
            log.append(Record(MINE if mine else OTHER, new_request_id(), at, 1, b"%d" % number + b" " * 30_000))
        reader = MergedReader(log, MINE, "pay", {}, 0, "g")
        got: list[tuple[int, int]] = []
        places: list[int] = []
        rounds = 0
        while not reader.at_end:
            merged = reader.read(1)
            got += [(record.received_at, int(record.value)) for record in merged.records]
            places += merged.places
            rounds += 1
            if rounds == cut:  # as after a restart
                reader.close()
                reader = MergedReader(log, MINE, "pay", merged.positions, 0, "g")
        reader.close()
        log.close()
    assert sorted(got) == sorted(expected)
    assert len(set(places)) == len(places)
    assert [at for at, _ in got] == sorted(at for at, _ in got)


def test_a_partition_with_nothing_new_is_not_waited_for(tmp_path: Path) -> None:
    log = open_log(EmbeddedLogSettings(path=tmp_path, partitions=4))
    reader = MergedReader(log, MINE, "pay", {}, 0, "g")
    for number in range(3):
        log.append(Record(MINE, new_request_id(), number, 1, b"x"))
        merged = reader.read(1 << 20)
        assert len(merged.records) == 1
    assert reader.read(1 << 20).records == []
    assert reader.at_end


def test_a_repeat_of_an_idempotent_request_is_left_out_after_a_restart_too(tmp_path: Path) -> None:
    log = open_log(EmbeddedLogSettings(path=tmp_path, partitions=3))
    request = keyed_request_id(MINE, "k")
    hour = 3_600_000_000
    where = [log.append(Record(MINE, request, at, 1, b"x")) for at in (0, hour // 2, 3 * hour)]
    reader = MergedReader(log, MINE, "pay", {}, hour, "g")
    merged = reader.read(1 << 20)
    assert merged.places == [place(where[0].partition, where[0].offset), place(where[2].partition, where[2].offset)]
    positions = {where[0].partition: where[0].offset + 1}
    again = MergedReader(log, MINE, "pay", positions, hour, "g")
    assert again.read(1 << 20).places == [place(where[2].partition, where[2].offset)]
