"""A lookup's file changes: what is taken, when, and what is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from connectors.telemetry import LOOKUP_RELOADS
from flows.config import Stream
from flows.lookups.settings import Lookup
from flows.lookups.table import LookupFailed
from flows.lookups.watched import Watched, watch
from flows.processor import StreamProcessor, open_pipeline_engine
from flows.steps import Enrich
from tests.flows.pipelines import until
from tests.logged import logged
from tests.lookups.files import NETWORKS, PARIS, replace, write_mmdb
from tests.steps.parsing import lines_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "t.csv"
    file.write_text("id,v\na,1\n")
    return file


class Looking:
    """A lookup whose file is looked at when the test says so."""

    def __init__(self, file: Path, key: str | None = "id") -> None:
        self.watched = Watched("looked", Lookup(file=file, key=key))

    def look(self, times: int = 3) -> list[Any]:
        """What is logged by looking so many times."""
        with logged() as logs:
            for _ in range(times):
                self.watched.look()
        return [(log["event"], log.get("reason", "")) for log in logs]

    @property
    def rows(self) -> int:
        return len(self.watched.current.table)


def test_a_file_renamed_over_is_taken_once_it_stays_as_it_is(file: Path) -> None:
    looking = Looking(file)
    first = looking.watched.current
    replace(file, "id,v\na,1\nb,2\n")
    assert looking.look(1) == []
    assert looking.watched.current is first
    assert [event for event, _ in looking.look(1)] == ["a lookup is taken anew"]
    assert (looking.rows, looking.watched.current.number > first.number) == (2, True)
    assert looking.look(5) == []


def test_a_file_written_in_place_is_not_taken_while_it_grows(file: Path) -> None:
    looking = Looking(file)
    with file.open("w") as growing:
        growing.write("id,v\n")
        for number in range(5):
            growing.write(f"k{number},{number}\n")
            growing.flush()
            os.utime(file, ns=(number, 10**9 + number))  # a disk's clock may be too coarse to tell
            assert looking.look(1) == []
    assert looking.rows == 1
    looking.look(2)
    assert looking.rows == 5


@pytest.mark.parametrize("broken", ["id,v\na\n", "other,v\na,1\n", "", 'id,v\na,"1\n', "id,v\na,\xff\n"])
def test_a_broken_file_is_reported_once_and_the_old_table_stays(broken: str, file: Path) -> None:
    looking = Looking(file)
    refused = LOOKUP_RELOADS.labels("looked", "refused")._value.get()
    replace(file, broken.encode("latin-1"))
    said = looking.look(6)
    assert [event for event, _ in said] == ["a lookup's new file is refused; what was read before stays"]
    assert str(file) in said[0][1]
    assert (looking.rows, LOOKUP_RELOADS.labels("looked", "refused")._value.get() - refused) == (1, 1)
    replace(file, "id,v\na,1\nb,2\n")
    looking.look()
    assert looking.rows == 2


def test_a_file_that_is_gone_is_reported_once_and_taken_when_it_comes_back(file: Path) -> None:
    looking = Looking(file)
    file.unlink()
    assert looking.look(1) == []
    assert len(looking.look(5)) == 1
    assert looking.rows == 1
    file.write_text("id,v\na,1\nb,2\n")
    looking.look()
    assert looking.rows == 2


def test_a_copy_that_keeps_time_and_size_is_seen(file: Path, tmp_path: Path) -> None:
    looking = Looking(file)
    (tmp_path / "other.csv").write_text("id,v\nz,9\n")
    seen = file.stat()
    shutil.copyfile(tmp_path / "other.csv", file)
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert [event for event, _ in looking.look()] == ["a lookup is taken anew"]


def test_an_mmdb_file_overwritten_in_place_harms_nobody_who_reads_it(tmp_path: Path) -> None:
    file = write_mmdb(tmp_path / "g.mmdb", NETWORKS)
    looking = Looking(file, key=None)
    before = looking.watched.current.table
    with file.open("r+b") as opened:
        opened.truncate(10)
    assert before._read("203.0.113.1") is not None  # type: ignore[union-attr] # of an address not asked for yet
    assert len(looking.look()) == 1
    write_mmdb(file, {"203.0.113.0/24": PARIS})
    looking.look()
    record = looking.watched.current.table._read("203.0.113.1")  # type: ignore[union-attr]
    assert record is not None
    assert record["city"]["names"]["en"] == "Paris"


def test_a_first_file_that_cannot_be_taken_says_which_and_why(tmp_path: Path) -> None:
    with pytest.raises(LookupFailed, match=r"the lookup 'teams' \(.*none.csv\) cannot be taken: No such file"):
        watch("teams", Lookup(file=tmp_path / "none.csv", key="id"))


def test_it_is_read_once_for_all_who_hold_it_and_forgotten_with_the_last(file: Path) -> None:
    settings = Lookup(file=file, key="id")
    one, other = watch("t", settings), watch("t", settings)
    assert one is other
    number = one.current.number
    del one, other
    until(lambda: watch("t", settings).current.number > number, what="a new reading")


def test_a_new_file_is_found_by_itself_and_met_at_the_next_batch(file: Path) -> None:
    stream = Stream(
        id="x",
        steps=(Enrich(lookup="t", on="source", into="event.t"),),
        lookups={"t": Lookup(file=file, key="id")},
    )
    with open_pipeline_engine() as engine:
        processor = StreamProcessor("s", stream, "lake", engine)

        def found() -> list[Any]:
            rows = processor.process(lines_of([{"source": "a", "event": {"n": n}} for n in range(3000)]))
            return [row["event"]["t"] for row in rows["lake"].to_pylist()]

        def functions() -> int:
            query = "SELECT count(*) FROM duckdb_functions() WHERE starts_with(function_name, 'lookup:')"
            return int(engine.execute(query).fetchall()[0][0])

        assert found() == [{"v": 1}] * 3000
        seen = []
        for new, value in [("id,v\na,2\n", {"v": 2}), ("id,v,w\na,3,x\n", {"v": 3, "w": "x"}), ("id,w\nb,x\n", None)]:
            replace(file, new)
            until(lambda value=value: seen.append(found()) or seen[-1] == [value] * 3000, what=str(value))
            assert functions() == 1
        for batch in seen:  # no batch is of two generations
            assert len({str(row) for row in batch}) == 1
