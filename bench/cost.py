"""What an accepted event costs end to end: bytes on the log and in the lake, CPU time in each part."""

from __future__ import annotations

import itertools
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import zstandard

from bench.payments import lines
from bench.peers import config, drain
from bench.rows import Row, Scale, compared, told
from bench.running import ingest, running, token
from connectors.log.settings import EmbeddedLogSettings

REQUEST = 500
PLAIN = "streams:\n  payments: {id: a0c3b4de-1923-4ff1-8dba-f92ad912d20f}\n"


def rows(scale: Scale) -> Iterator[Row]:
    """All of it, of events that came over HTTP in requests of 500, kept as they are."""
    with tempfile.TemporaryDirectory() as directory:
        yield from told(scale, "cost", "an accepted event", lambda: _cost(Path(directory), scale))


def _cost(home: Path, scale: Scale) -> Iterator[Row]:
    log = EmbeddedLogSettings(path=home / "log", partitions=1)
    file = config(home, log)
    text = file.read_text()
    file.write_text(text[: text.index("streams:")] + PLAIN + text[text.index("destinations:") :])
    secret, events = token(file), lines(max(REQUEST, scale.events // 2))
    count = raw = 0
    packed = zstandard.ZstdCompressor(3).compressobj()
    zstd = 0
    with running(file, "serve", "--port", "0", "--workers", "1") as serve:
        before = serve.cpu_seconds()
        while request := list(itertools.islice(events, REQUEST)):
            body = b"\n".join(request)
            _post(serve.url, secret, body)
            count, raw, zstd = count + len(request), raw + len(body) + 1, zstd + len(packed.compress(body + b"\n"))
        gateway = serve.cpu_seconds() - before
    zstd += len(packed.flush())
    on_log = sum(path.stat().st_size for path in log.path.iterdir())
    dataflow = drain(file)
    in_lake = sum(path.stat().st_size for path in (home / "lake" / "payments").rglob("*.parquet"))
    for what, size in (("on the log", on_log), ("in the lake", in_lake)):
        for name, other in (("raw NDJSON", raw), ("zstd NDJSON, level 3", zstd)):
            note = f"reference: {name}, all in one"
            yield compared(
                "cost", f"bytes of an event {what}", [(size / count, other / count)], unit="bytes", note=note
            )
    note = (
        f"gateway {gateway / count * 1e6:.1f} µs (requests of {REQUEST}, one after the other); dataflow with its start"
    )
    yield Row(
        group="cost", what="CPU of an event, end to end", ours=(gateway + dataflow) / count * 1e6, unit="µs", note=note
    )


def _post(url: str, secret: str, body: bytes) -> None:
    request = ingest(secret, body)
    given = urllib.request.Request(url + request.path, body, request.headers, method="POST")
    with urllib.request.urlopen(given, timeout=60) as answer:
        msgspec.json.decode(answer.read())
