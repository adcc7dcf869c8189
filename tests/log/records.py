"""Records for the tests of the log, and the reading back of everything a log holds."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping

import msgspec

from connectors.log import Log, LogSettings
from connectors.record import Record, keyed_request_id, new_request_id, now_microseconds
from tests.services.process import ROOT

STREAM = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"


def record(value: bytes = b'{"source":"s","event":{}}', *, key: str | None = None, received_at: int = 0) -> Record:
    request_id = new_request_id() if key is None else keyed_request_id(STREAM, key)
    return Record(STREAM, request_id, received_at or now_microseconds(), value.count(b"\n") + 1, value)


def everything(
    log: Log, start: Mapping[int, int] | None = None, *, max_bytes: int = 1_000_000, seconds: float = 30
) -> dict[int, list[tuple[int, Record]]]:
    """What the log holds now, by partition, as (offset, record)."""
    partitions = range(log.partitions)
    found: dict[int, list[tuple[int, Record]]] = {partition: [] for partition in partitions}
    reader = log.reader(partitions, start or {}, group="everything")
    try:
        ends = reader.end_offsets()
        deadline = time.monotonic() + seconds
        unread = {partition for partition in partitions if ends[partition] > (start or {}).get(partition, 0)}
        while unread:
            for partition in list(unread):
                block = reader.read(partition, max_bytes=max_bytes)
                if block is None:
                    time.sleep(0.002)
                    continue
                found[partition] += zip(block.offsets, block.records, strict=True)
                if block.next_offset >= ends[partition]:
                    unread.discard(partition)
            assert time.monotonic() < deadline, f"partitions {unread} were not read to their ends {ends}"
    finally:
        reader.close()
    return found


def writer_process(settings: LogSettings, name: str, count: int) -> subprocess.Popen[str]:
    """A process that appends `<name>-0`, `<name>-1`, … and prints each once it is acknowledged."""
    program = """
import sys, msgspec
from pathlib import Path
from connectors.log import open_log, settings as kinds
from tests.log.records import record
kind, settings, name, count = sys.argv[1:]
log = open_log(msgspec.json.decode(settings, type=getattr(kinds, kind), dec_hook=lambda type, text: Path(text)))
for number in range(int(count)):
    value = f"{name}-{number}"
    log.append(record(value.encode()))
    print(value, flush=True)
log.close()
"""
    encoded = msgspec.json.encode(settings, enc_hook=str).decode()
    return subprocess.Popen(
        [sys.executable, "-c", program, type(settings).__name__, encoded, name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
