"""The embedded log in bad weather: full disks, damaged and vanished files, locks held, limits of age and size."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from connectors.errors import ConfigError, HeadraceError, Transient, Unavailable
from connectors.log import EmbeddedLogSettings, Log, LogSettings
from connectors.log.embedded import EmbeddedLog
from connectors.log.embedded.commits import GroupCommit
from connectors.log.embedded.store import begin, open_store
from connectors.record import Replay, now_microseconds
from tests.log.records import everything, record
from tests.logged import logged
from tests.services.process import ROOT

Opened = Callable[[LogSettings], Log]

_HOUR = 3_600_000_000
LARGE = b"\n".join(
    b'{"source":"shop","event":{"n":%d,"text":"a payment of %d cents"}}' % (n, n * 7) for n in range(500)
)


@pytest.fixture
def settings(tmp_path: Path) -> EmbeddedLogSettings:
    return EmbeddedLogSettings(path=tmp_path / "log", partitions=2)


@pytest.fixture
def log(settings: EmbeddedLogSettings) -> Iterator[EmbeddedLog]:
    made = EmbeddedLog(settings)
    yield made
    made.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB of its own."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(where)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def test_a_full_disk_refuses_appends_keeps_what_it_took_and_works_again_with_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(6_000_000))
    log = EmbeddedLog(EmbeddedLogSettings(path=small_disk / "log", partitions=1, compression="none"))
    taken = 0
    with pytest.raises(Unavailable, match="disk of the log is full"):  # noqa: PT012 -- which append it is, is not said
        while True:
            log.append(record(b"x" * 500_000))
            taken += 1
    assert taken > 5
    with pytest.raises(Unavailable, match="disk of the log is full"):
        log.check()
    reader = log.reader([0], {}, group="p")
    assert reader.end_offsets() == {0: taken}
    reader.close()
    ballast.unlink()
    position = log.append(record(b"after"))
    assert position.offset == taken
    assert [each.value[:5] for _, each in everything(log)[0]] == [b"xxxxx"] * taken + [b"after"]
    log.close()


def test_a_file_that_may_not_grow_refuses_appends(settings: EmbeddedLogSettings) -> None:
    program = f"""
import resource, signal
from pathlib import Path
from connectors.errors import Unavailable
from connectors.log import EmbeddedLogSettings, open_log
from tests.log.records import everything, record
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = open_log(EmbeddedLogSettings(path=Path({str(settings.path)!r}), partitions=1, compression="none"))
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, resource.RLIM_INFINITY))
taken = 0
try:
    for _ in range(20):
        log.append(record(b"x" * 500_000))
        taken += 1
except Unavailable as exc:
    print("refused:", exc)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.append(record(b"after"))
assert len(everything(log)[0]) == taken + 1
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "refused: the disk of the log" in done.stdout


def test_a_directory_that_cannot_be_made_is_told_and_taken_up_once_it_can(tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("a file")
    log = EmbeddedLog(EmbeddedLogSettings(path=tmp_path / "in the way" / "log"))
    for attempt in (lambda: log.append(record()), log.check, lambda: log.reader([0], {}, group="p")):
        with pytest.raises(Unavailable, match=r"cannot be opened.*in the way"):
            attempt()
    (tmp_path / "in the way").unlink()
    assert log.append(record()).offset == 0
    log.close()


def test_a_damaged_file_is_told(settings: EmbeddedLogSettings) -> None:
    settings.path.mkdir()
    (settings.path / "log.db").write_bytes(b"not a database, but long enough to be one " * 500)
    log = EmbeddedLog(settings)
    with pytest.raises(Unavailable, match=r"not a SQLite file: .*log\.db"):
        log.append(record())
    with pytest.raises(Unavailable, match=r"not a SQLite file: .*log\.db"):
        log.check()


def test_another_programs_database_is_left_alone(settings: EmbeddedLogSettings) -> None:
    settings.path.mkdir()
    other = sqlite3.connect(settings.path / "log.db")
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(ConfigError, match="not a headrace log"):
        EmbeddedLog(settings)


def test_a_log_that_is_removed_while_in_use_is_not_begun_anew_behind_its_readers_backs(
    log: EmbeddedLog, settings: EmbeddedLogSettings
) -> None:
    log.append(record())
    reader = log.reader([0, 1], {}, group="p")
    while any(reader.read(partition, max_bytes=1) is not None for partition in (0, 1)):
        pass
    for file in settings.path.iterdir():
        file.unlink()
    with pytest.raises(Unavailable, match="was removed while in use"):
        log.append(record())
    with pytest.raises(Transient, match="was removed or replaced"):
        reader.read(0, max_bytes=1)
    assert not (settings.path / "log.db").exists()
    reader.close()


def test_a_lock_held_by_another_process_is_waited_for(log: EmbeddedLog, settings: EmbeddedLogSettings) -> None:
    holder = open_store(settings.path, 2, durable=False)
    begin(holder)
    appended = threading.Event()
    thread = threading.Thread(target=lambda: (log.append(record()), appended.set()))
    thread.start()
    assert not appended.wait(0.2)
    holder.execute("COMMIT")
    assert appended.wait(10)
    thread.join()
    holder.close()


def test_a_lock_held_for_too_long_refuses_appends(
    log: EmbeddedLog, settings: EmbeddedLogSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = open_store(settings.path, 2, durable=False)
    begin(holder)
    monkeypatch.setattr(begin, "__kwdefaults__", {"patience": 0.2})
    with pytest.raises(Unavailable, match="other processes hold the log"):
        log.append(record())
    holder.execute("COMMIT")
    assert log.append(record()).offset == 0
    holder.close()


def test_partitions_may_grow_and_keyed_requests_stay_where_they_were(
    settings: EmbeddedLogSettings, opened: Opened
) -> None:
    before = opened(settings)
    keys = [str(number) for number in range(20)]
    placed = {key: before.append(record(key=key)).partition for key in keys}
    grown = opened(EmbeddedLogSettings(path=settings.path, partitions=5))
    assert grown.partitions == 5
    assert {key: grown.append(record(key=key)).partition for key in keys} == placed
    assert {grown.append(record()).partition for _ in range(10)} == {0, 1, 2, 3, 4}
    assert {before.append(record()).partition for _ in range(10)} == {0, 1, 2, 3, 4}, "a running process follows"


def test_fewer_partitions_than_there_are_is_refused(settings: EmbeddedLogSettings, opened: Opened) -> None:
    opened(settings)
    with pytest.raises(ConfigError, match=r"log\.embedded\.partitions is 1, but the log .* has 2"):
        opened(EmbeddedLogSettings(path=settings.path, partitions=1))


def test_retention_deletes_what_is_old_and_read_and_never_gives_an_offset_twice(
    log: EmbeddedLog, settings: EmbeddedLogSettings
) -> None:
    now = now_microseconds()
    for age in (200, 190, 180, 170, 1, 0):  # hours, over two partitions
        log.append(record(received_at=now - age * _HOUR))
    _commit(log, "p", {0: 3, 1: 3})
    assert log.retain(now=now) == 4
    assert [offset for offset, _ in everything(log)[0]] == [2]
    log.retain(now=now + 1000 * _HOUR)
    assert everything(log) == {0: [], 1: []}
    assert {log.append(record()).offset for _ in range(2)} == {3}


def test_retention_keeps_what_a_pipeline_has_still_to_read_and_says_so(log: EmbeddedLog) -> None:
    now = now_microseconds()
    for _ in range(10):
        log.append(record(received_at=now - 200 * _HOUR))
    with logged() as logs:
        assert log.retain(now=now) == 0, "no pipeline has read anything yet"
    assert [entry["event"] for entry in logs] == ["unread_records_kept_past_retention"]
    _commit(log, "p", {0: 5, 1: 5})
    _commit(log, "slow", {0: 2})
    assert log.retain(now=now) == 2
    log.forget_group("slow")
    assert log.retain(now=now) == 8


def test_retention_by_size_deletes_the_oldest_and_no_more_than_it_must(tmp_path: Path, opened: Opened) -> None:
    log = EmbeddedLog(EmbeddedLogSettings(path=tmp_path, partitions=1, retention_bytes=5_000_000, compression="none"))
    for number in range(100):
        log.append(record(b"%03d" % number + b"x" * 100_000))
    _commit(log, "p", {0: 100})
    deleted = log.retain()
    assert 50 <= deleted <= 60
    assert [offset for offset, _ in everything(log)[0]] == list(range(deleted, 100))
    assert log.retain() == 0
    log.close()


def test_a_reader_whose_records_were_deleted_is_told_how_many(log: EmbeddedLog) -> None:
    now = now_microseconds()
    for _ in range(20):
        log.append(record(received_at=now - 200 * _HOUR))
    late = log.reader([0], {0: 3}, group="late")
    _commit(log, "p", {0: 10, 1: 10})
    log.retain(now=now)
    with pytest.raises(HeadraceError, match=r"7 records of partition 0 .* deleted before 'late' read them"):
        late.read(0, max_bytes=1)
    with pytest.raises(HeadraceError, match=r"7 records of partition 0"):
        log.reader([0], {0: 3}, group="late")
    late.close()


def test_appends_are_followed_by_retention_without_being_asked(
    settings: EmbeddedLogSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.log.embedded._RETENTION_SECONDS", 0.0)
    log = EmbeddedLog(settings)
    now = now_microseconds()
    for _ in range(4):
        log.append(record(received_at=now - 200 * _HOUR))
    _commit(log, "p", {0: 2, 1: 2})
    log.append(record())
    log.append(record())
    assert sum(len(rows) for rows in everything(log).values()) == 2
    log.close()


def test_the_wal_does_not_grow_without_end_under_readers(settings: EmbeddedLogSettings) -> None:
    log = EmbeddedLog(msgspec.structs.replace(settings, compression="none"))
    reader = log.reader([0, 1], {}, group="p")
    for _ in range(10):  # the reader stays behind, so that it always stops before the end
        log.append(record())
    for _ in range(300):
        log.append(record(b"x" * 200_000))
        reader.read(0, max_bytes=1)
        reader.read(1, max_bytes=1)
    assert (settings.path / "log.db-wal").stat().st_size < 30_000_000
    assert (settings.path / "log.db").stat().st_size > 30_000_000
    reader.close()
    log.close()


def test_a_log_opened_before_a_fork_says_so_in_the_child(log: EmbeddedLog) -> None:
    child = os.fork()
    if child == 0:
        try:
            log.append(record())
        except RuntimeError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_what_waits_for_a_commit_is_bounded_and_past_it_refused_at_once() -> None:
    going, go_on = threading.Event(), threading.Event()

    def commit(items: list[int]) -> list[int]:
        going.set()
        go_on.wait(20)
        return items

    commits = GroupCommit(commit, patience=20, max_bytes=100, what="the log")
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(commits.submit(1, 50))) for _ in range(2)]
    threads[0].start()
    assert going.wait(10)
    threads[1].start()
    deadline = time.monotonic() + 10
    while commits._bytes < 100:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    with pytest.raises(Unavailable, match="100 bytes already wait"):
        commits.submit(1, 1)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert results == [1, 1]
    assert commits.submit(2, 100) == 2


def test_who_waits_too_long_behind_a_stuck_commit_is_refused_and_the_next_is_served() -> None:
    stuck, go_on = threading.Event(), threading.Event()
    committed: list[str] = []

    def commit(items: list[str]) -> list[str]:
        committed.extend(items)
        if "stuck" in items:
            stuck.set()
            go_on.wait(20)
        return items

    commits = GroupCommit(commit, patience=0.1, max_bytes=100, what="the log")
    leader = threading.Thread(target=lambda: commits.submit("stuck", 1))
    leader.start()
    assert stuck.wait(10)
    with pytest.raises(Unavailable, match="the log did not acknowledge within"):
        commits.submit("given up", 1)
    go_on.set()
    leader.join(10)
    assert commits.submit("next", 1) == "next"
    assert committed == ["stuck", "next"]


def test_a_commit_that_fails_is_told_to_every_member_and_the_next_group_is_tried() -> None:
    failing = True
    first_is_in, go_on = threading.Event(), threading.Event()

    def commit(items: list[int]) -> list[int]:
        first_is_in.set()
        go_on.wait(20)
        if failing:
            raise Unavailable("no room")
        return items

    commits = GroupCommit(commit, patience=20, max_bytes=100, what="the log")
    refused: list[str] = []

    def submit() -> None:
        with pytest.raises(Unavailable) as error:
            commits.submit(1, 1)
        refused.append(error.value.what)

    threads = [threading.Thread(target=submit) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert first_is_in.wait(10)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert refused == ["no room"] * 6
    failing = False
    assert commits.submit(5, 1) == 5


def _commit(log: Log, group: str, offsets: dict[int, int]) -> None:
    reader = log.reader([0], {}, group=group)
    reader.commit(offsets)
    reader.close()


@pytest.mark.parametrize("version", [1, 2])
def test_a_log_that_an_earlier_version_made_is_taken_up(settings: EmbeddedLogSettings, version: int) -> None:
    """Version 1: before events could be sent again; 2: before values were compressed."""
    log = EmbeddedLog(msgspec.structs.replace(settings, compression="none"))
    old = [record(key="k"), record(LARGE)]
    for one in old:
        log.append(one)
    log.close()
    with sqlite3.connect(settings.path / "log.db") as database:
        for column in ("size", "replay")[: 3 - version]:
            database.execute(f"ALTER TABLE records DROP COLUMN {column}")
        database.execute(f"PRAGMA user_version = {version}")
    database.close()
    grown = EmbeddedLogSettings(path=settings.path, partitions=3)
    log = EmbeddedLog(grown)
    new = [msgspec.structs.replace(record(key="l"), replay=Replay(old[0].request_id, 7)), record(LARGE)]
    for one in new:
        log.append(one)
    log.close()
    found = [one for rows in everything(EmbeddedLog(grown)).values() for _, one in rows]
    assert sorted(found, key=lambda one: one.received_at) == [*old, *new]


def test_large_requests_take_a_part_of_the_room_and_come_back_as_they_were(tmp_path: Path, opened: Opened) -> None:
    values = [LARGE, os.urandom(50_000), LARGE[:100], b"", LARGE + b"\n\xff\x00", bytes(1_000_000)]
    sizes = {}
    for compression in ("none", "zstd"):
        log = opened(EmbeddedLogSettings(path=tmp_path / compression, partitions=1, compression=compression))  # type: ignore[arg-type]
        for value in [*values, *([LARGE] * 50)]:
            log.append(record(value))
        assert [one.value for _, one in everything(log)[0]] == [*values, *([LARGE] * 50)]
        log.close()
        with sqlite3.connect(tmp_path / compression / "log.db") as database:
            sizes[compression] = database.execute("SELECT sum(length(value)) FROM records").fetchall()[0][0]
        database.close()
    assert sizes["zstd"] < sizes["none"] / 5


def test_what_was_written_compressed_is_read_where_it_no_longer_is_asked_for(settings: EmbeddedLogSettings) -> None:
    sent = []
    for compression in ("zstd", "none", "zstd"):
        log = EmbeddedLog(msgspec.structs.replace(settings, compression=compression, partitions=2))
        sent.append(record(LARGE + compression.encode()))
        log.append(sent[-1])
        log.close()
    found = [one for rows in everything(EmbeddedLog(settings)).values() for _, one in rows]
    assert sorted(found, key=lambda one: one.received_at) == sent


def test_a_batch_is_measured_by_what_is_read_and_not_by_what_is_written(log: EmbeddedLog) -> None:
    for _ in range(20):
        log.append(record(bytes(100_000)))
    reader = log.reader([0], {}, group="p")
    block = reader.read(0, max_bytes=200_000)
    assert block is not None
    assert len(block.records) == 2
    reader.close()


def test_threads_that_append_at_once_do_not_mix_what_they_compress(log: EmbeddedLog) -> None:
    values = [b"%d " % number * 20_000 for number in range(40)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda value: log.append(record(value)), values * 3))
    found = Counter(one.value for rows in everything(log).values() for _, one in rows)
    assert found == Counter(values * 3)


@pytest.mark.parametrize("damage", [b"(\xb5/\xfd nothing", b"", LARGE[:30]])
def test_a_damaged_value_is_told_with_its_place(log: EmbeddedLog, settings: EmbeddedLogSettings, damage: bytes) -> None:
    log.append(record())
    log.append(record(LARGE))
    log.append(record())
    log.append(record(LARGE))
    with sqlite3.connect(settings.path / "log.db") as database:
        database.execute("UPDATE records SET value = ? WHERE size IS NOT NULL AND position & 1", (damage,))
    database.close()
    with pytest.raises(Unavailable, match=r"the log is damaged: .*log\.db, record 1 of partition [01] "):
        everything(log)
