"""What `enrich` costs in a file of a million rows: to look up, to take anew, in memory; beside DuckDB's own join.

python -m bench.enrich           # some 2 min; --rows N for the events of a batch, --keys N for the rows of the file
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import threading
import time
from pathlib import Path

import pyarrow as pa
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from bench.measure import best_of
from connectors.batch import StreamLines
from flows.config import Stream
from flows.engine import open_engine
from flows.lookups.keyed import KeyedTable
from flows.lookups.settings import Lookup
from flows.lookups.watched import Watched
from flows.processor import StreamProcessor, open_pipeline_engine
from flows.steps import Enrich, Step
from tests.steps.parsing import lines_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--keys", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "t.csv"
        _write(file, 10)
        Watched("t", Lookup(file=file, key="id"))  # what is imported is no part of a file
        _write(file, arguments.keys)
        _loading(file)  # first: nothing else is in memory yet
        table = pa.table(
            {
                "id": [f"user-{n}" for n in range(arguments.keys)],
                "team": [f"team {n % 999}" for n in range(arguments.keys)],
            }
        )
        pick = random.Random(1)
        print("| | step alone | whole pipeline | bare DuckDB |\n|---|---|---|---|")
        for name, keys in {
            "keys all over the file": [f"user-{pick.randrange(arguments.keys)}" for _ in range(arguments.rows)],
            "100 keys again and again": [f"user-{pick.randrange(100)}" for _ in range(arguments.rows)],
            "a miss each": [f"nobody-{n}" for n in range(arguments.rows)],
        }.items():
            step = Enrich(lookup="t", on="event.m", into="event.t")
            _print(name, step, Lookup(file=file, key="id"), keys, _bare(table, keys))
        addresses = [
            f"10.{pick.randrange(256)}.{pick.randrange(256)}.{pick.randrange(256)}" for _ in range(arguments.rows)
        ]
        geo = Path(directory) / "g.mmdb"
        _write_geo(geo)
        step = Enrich(lookup="t", on="event.m", into="event.t", fields=("country.iso_code", "city.names.en"))
        _print("GeoIP, addresses not seen before", step, Lookup(file=geo), addresses, "—", forget=True)
        _print("GeoIP, the same addresses again", step, Lookup(file=geo), addresses, "—")


def _print(name: str, step: Step, lookup: Lookup, keys: list[str], bare: str, *, forget: bool = False) -> None:
    lines = lines_of([{"source": "s", "event": {"m": key}} for key in keys])
    without, whole = _seconds((), lookup, lines), _seconds((step,), lookup, lines, forget=forget)
    added = whole - without
    alone = f"{len(keys) / added:,.0f}" if added > 0.02 * whole else "too little to measure"
    print(f"| {name} | {alone} | {len(keys) / whole:,.0f} | {bare} |", flush=True)


def _seconds(steps: tuple[Step, ...], lookup: Lookup, lines: StreamLines, *, forget: bool = False) -> float:
    stream = Stream(id="x", steps=steps, lookups={"t": lookup})
    processor = StreamProcessor("s", stream, "lake", open_pipeline_engine())

    def process() -> None:
        processor.process(lines)
        if forget and steps:
            table = processor._stages._lookups._watched["t"].current.table
            table._record.cache_clear()  # type: ignore[union-attr]

    return best_of(3, process)


def _bare(table: pa.Table, keys: list[str]) -> str:
    """A LEFT JOIN of a batch, its rows put in order again, with the file as a table of DuckDB's own."""
    with open_engine() as engine:
        engine.register("file", table)
        engine.execute("CREATE TABLE t AS SELECT * FROM file")
        engine.register("batch", pa.table({"m": keys, "n": list(range(len(keys)))}))
        query = "SELECT n, t.team FROM batch LEFT JOIN t ON m = t.id ORDER BY n"
        return f"{len(keys) / best_of(3, lambda: engine.sql(query).to_arrow_table()):,.0f}"


def _loading(file: Path) -> None:
    """How long a file takes to be read, what it takes in memory, and for how long another thread is kept waiting."""
    before = _resident()
    began = time.process_time()
    watched = Watched("t", Lookup(file=file, key="id"))
    seconds = time.process_time() - began
    table = watched.current.table
    assert isinstance(table, KeyedTable)
    grown = _resident() - before
    stop, longest = threading.Event(), [0.0]

    def wait() -> None:
        last = time.perf_counter()
        while not stop.is_set():
            time.sleep(0.001)
            now = time.perf_counter()
            longest[0], last = max(longest[0], now - last), now

    waiting = threading.Thread(target=wait)
    waiting.start()
    file.touch()
    watched.look()
    watched.look()
    stop.set()
    waiting.join()
    grew, held, peak, start = (f"{size / 1e6:,.0f} MB" for size in (grown, table.nbytes, _peak(), before))
    print(f"{len(table):,} rows, a CSV of {file.stat().st_size / 1e6:,.0f} MB")
    print(f"read in {seconds:.1f} s of one core; the process grew by {grew}, rows and index have {held}")
    print(f"taken anew: it had {peak} at most ({start} before any of it), and")
    print(f"another thread waited {longest[0] * 1000:,.0f} ms at most\n")


def _write(file: Path, keys: int) -> None:
    with file.open("w") as opened:
        opened.write("id,team,size,floor,city\n")
        for n in range(keys):
            opened.write(f"user-{n},team {n % 999},{n % 50},{n % 7}.5,city {n % 1000}\n")


def _write_geo(file: Path) -> None:
    writer = MMDBWriter(4, "GeoLite2-City")
    for n in range(4096):
        record = {"country": {"iso_code": f"C{n % 200}"}, "city": {"names": {"en": f"City {n}", "de": f"Stadt {n}"}}}
        writer.insert_network(IPSet([f"10.{n // 16}.{n % 16 * 16}.0/20"]), record)
    writer.to_db_file(str(file))


def _resident() -> int:
    """Bytes of memory that the process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
