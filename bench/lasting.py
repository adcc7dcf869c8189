"""What time and number do: memory after many events, late commits beside early ones, starting, two processes."""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median

from bench.load import load
from bench.payments import lines
from bench.peers import REQUEST, config, drain, fill
from bench.rows import Row, Scale, alone, compared, difference, told
from bench.running import ingest, running, token, until
from bench.servers import STREAM
from connectors.log import open_log
from connectors.log.settings import EmbeddedLogSettings
from connectors.record import Record, new_request_id, now_microseconds
from flows.graph import NAME

COMMITS = 2_000
EARLY = 20
MILLION = 1_000_000


def rows(scale: Scale) -> Iterator[Row]:
    """Each of them."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        yield from told(scale, "lasting", "cold start", lambda: _start(home / "start", scale))
        yield from told(scale, "lasting", "two processes", lambda: _processes(home / "processes", scale))
        yield from told(scale, "lasting", "memory of the dataflow", lambda: _memory(home / "memory", scale))
        yield from told(scale, "lasting", "memory of the gateway", lambda: _gateway_memory(home / "gateway", scale))
        yield from told(scale, "lasting", "late commits", lambda: _commits(home / "commits", scale))


def _start(home: Path, scale: Scale) -> Iterator[Row]:
    taken, used = [], []
    for number in range(max(1, min(3, scale.rounds))):
        file = config(home / str(number), EmbeddedLogSettings(path=home / str(number) / "log"))
        with running(file, "up", "--port", "0", "--workers", "1") as up:
            taken.append(up.ready_seconds)
            used.append(up.cpu_seconds())
    note = f"{median(used):.1f} s of CPU time in all its processes: on a machine with other work this is the clock's"
    yield alone("lasting", "cold start: `headrace up` to ready", median(taken), unit="s", at_most=3, note=note)


def _processes(home: Path, scale: Scale) -> Iterator[Row]:
    few, many = 4 * REQUEST, 4 * scale.events  # a request for each partition: each process makes its plans
    logs = {count: EmbeddedLogSettings(path=home / str(count), partitions=4) for count in (few, many)}
    for count, log in logs.items():
        fill(log, count)
    pairs = []
    for number in range(max(1, min(3, scale.rounds))):
        speeds = []
        for processes in (2, 1):
            took = []
            for count, log in logs.items():
                opened = open_log(log)
                opened.forget_group(NAME)  # type: ignore[attr-defined]  # of the embedded log: to read all of it again
                opened.close()
                file = config(home / f"{number}-{processes}-{count}", log)
                began = time.monotonic()
                drain(file, "--processes", str(processes))
                took.append(time.monotonic() - began)
            speeds.append((many - few) / difference(took[1], took[0]))
        pairs.append((speeds[0], speeds[1]))
    note = f"reference: one process; {many:,} events by the clock, less {few:,}: needs two cores to itself"
    yield compared("lasting", "two dataflow processes", pairs, at_least=1.7, unit="events/s", note=note)


def _memory(home: Path, scale: Scale) -> Iterator[Row]:
    few = 10 * MILLION if scale.full else scale.events
    log = EmbeddedLogSettings(path=home / "log", partitions=1)
    file, sizes = config(home, log), []
    with running(file, "run") as run:
        for count in (few, 4 * few):
            _feed(log, count)
            sizes.append(run.resident_bytes("flows.worker"))
    note = "reference: after a fifth of them" + ("" if scale.full else "; `--full` is 50 million")
    yield _grown("dataflow", few, sizes, note)


def _feed(log: EmbeddedLogSettings, count: int) -> None:
    """Appends in parts, each once the last was committed: what is measured is a process that keeps up."""
    opened = open_log(log)
    try:
        for part in range(0, count, 200_000):
            fill(log, min(200_000, count - part))
            reader = opened.reader([0], {}, group="bench")
            end = reader.end_offsets()[0]
            reader.close()
            until(lambda end=end: opened.committed(NAME).get(0, 0) >= end, 300, "the commit of what was fed")  # type: ignore[misc]
    finally:
        opened.close()


def _gateway_memory(home: Path, scale: Scale) -> Iterator[Row]:
    file = config(home, EmbeddedLogSettings(path=home / "log"))
    request = ingest(token(file), b"\n".join(lines(REQUEST)))
    few, sizes = 10 * MILLION if scale.full else scale.events, []
    with running(file, "serve", "--port", "0", "--workers", "1") as serve:
        sent = 0
        for count in (few, 5 * few):
            while sent < count:
                sent += load(serve.url, request, min(10.0, scale.seconds), 16).requests * REQUEST
            sizes.append(serve.resident_bytes("headrace"))
    yield _grown(
        "gateway", few, sizes, "reference: after a fifth of them" + ("" if scale.full else "; `--full` is 50 million")
    )


def _grown(part: str, few: int, sizes: list[int], note: str) -> Row:
    pair = (sizes[1] / MILLION, sizes[0] / MILLION)
    return compared(
        "lasting", f"memory of the {part} after {5 * few:,} events", [pair], at_most=1.1, unit="MB", note=note
    )


def _commits(home: Path, scale: Scale) -> Iterator[Row]:
    """Commits as fast as they come, of what a thread appends meanwhile; the time of one is the gap to the one before."""
    log = EmbeddedLogSettings(path=home / "log", partitions=1)
    file = config(home, log)
    file.write_text(file.read_text().replace("type: delta, ", "type: delta, commit_rows: 1, commit_interval: 50ms, "))
    wanted = COMMITS + EARLY // 2 if scale.events >= 400_000 else 4 * EARLY
    done, made = threading.Event(), home / "lake" / "payments" / "_delta_log"
    feeder = threading.Thread(target=_trickle, args=(log, done))
    times: dict[int, float] = {}
    with running(file, "run") as run:
        feeder.start()
        try:
            deadline = time.monotonic() + (280 if wanted > COMMITS else 60)
            while len(times) < wanted and time.monotonic() < deadline:
                times |= {int(path.stem): path.stat().st_mtime for path in made.glob("*.json") if path.stem.isdigit()}
                time.sleep(0.2)
        finally:
            done.set()
            feeder.join()
        del run
    gaps = [times[number] - times[number - 1] for number in sorted(times) if number - 1 in times]
    if len(gaps) < 2 * EARLY:
        raise RuntimeError(f"only {len(gaps)} commits were made in time")
    around = [gaps[at - EARLY // 2 : at + EARLY // 2] for at in (EARLY, len(gaps) - EARLY // 2)]
    early, late = map(median, around)
    means = " and ".join(f"{fmean(of) * 1000:.1f}" for of in reversed(around))
    note = f"reference: the {EARLY}th; each the median of the {EARLY} around it (means, with a checkpoint: {means})"
    yield compared(
        "lasting", f"commit {len(gaps):,} of a table", [(late * 1000, early * 1000)], at_most=1.5, unit="ms", note=note
    )


def _trickle(log: EmbeddedLogSettings, done: threading.Event) -> None:
    opened = open_log(log)
    for line in itertools.cycle(lines(1_000)):
        if done.wait(0.001):
            break
        opened.append(Record(STREAM, new_request_id(), now_microseconds(), 1, line))
    opened.close()
