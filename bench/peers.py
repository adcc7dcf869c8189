"""The same pipeline on the same Kafka topic: headrace and others, by the CPU time of an event.

Once with messages of 500 events, as the gateway writes them, and once with one event a message.

Each runs as a process of its own on a topic of all events and on one of a few: the difference of what it used is what
the events cost, and nobody pays for starting. All drop refunds, mask two fields, keep half of the users and write zstd
Parquet (headrace: a Delta table; those that write neither: JSON). Who does not write just the events that are to come, or
leaves an address or a card in them, has no figure. What is compared with is in `bench/contestants/`: those from PyPI are
installed here (`peers.txt`), the others are taken where they are found on PATH.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import duckdb
import msgspec
import pyarrow.parquet as pq
import zstandard
from deltalake import DeltaTable

from bench.environment import peers
from bench.payments import lines
from bench.rows import Row, Scale, compared, difference, told
from connectors.log import open_log
from connectors.log.settings import EmbeddedLogSettings, KafkaLogSettings, LogSettings
from connectors.record import Record, new_request_id, now_microseconds
from tests.services.kafka import KafkaBroker
from tests.services.process import ServiceMissingError

STREAM = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"
FEW = 2_000
REQUEST = 500
CONFIG = """
log: {{{log}}}
data: {data}
streams:
  payments:
    id: {stream}
    steps:
      - filter: event.status IS DISTINCT FROM 'refunded'
      - mask: {{event.card: last4, event.email: hash}}
      - sample: {{rate: 0.5, key: event.user_id}}
    routes:
      - {{when: event.amount > 1000000, to: [large]}}
      - {{to: [lake]}}
destinations:
  lake: {{type: delta, uri: "{data}/lake/{{stream}}"}}
  large: {{type: delta, uri: "{data}/large/{{stream}}"}}
"""
HERE = Path(__file__).parent / "contestants"
LIMIT_SECONDS = 200.0  # for one run of one of them
IDLE_SECONDS = 3.0  # after which one that never ends by itself has read all there is

_PEEK = os.WEXITED | os.WNOHANG | os.WNOWAIT  # whether it has ended, its figures left for wait4

Topic = tuple[str, str, int]
"""Bootstrap servers, the topic's name, how many events it has."""

PYPI: dict[str, tuple[str, float]] = {
    "Bytewax, event by event, orjson": ("per_event.py", 6),
    "Quix Streams": ("quix.py", 5),
    "Tenzir": ("tenzir.tql", 3),
    "Pathway": ("pathway_frames.py", 1),
}
ON_PATH: dict[str, tuple[str, list[str]]] = {
    "Vector": ("vector.yaml", ["vector", "--quiet", "--config"]),
    "Redpanda Connect": ("connect.yaml", ["redpanda-connect", "run"]),
    "OpenTelemetry Collector": ("otelcol.yaml", ["otelcol-contrib", "--config"]),
    "Fluent Bit": ("fluent-bit.yaml", ["fluent-bit", "--quiet", "--config"]),
}
CORE = 1.5  # the target beside each of ON_PATH
MANY = {"Vector": "vector.yaml", "OpenTelemetry Collector": "otelcol.yaml", "Fluent Bit": "fluent-bit-lines.yaml"}
"""Of ON_PATH, what those that can read messages of many events are configured by then."""
CLEAR = r"@example\.com|\b4[0-9]{15}\b"  # an address or a card of the payments
SAMPLES_OTHERWISE = {"headrace", "Fluent Bit"}  # all others keep the users whose SHA-256 begins with 0 to 7


def rows(scale: Scale) -> Iterator[Row]:
    """headrace beside each of the others; what cannot be had is a row that says so."""
    yield from told(msgspec.structs.replace(scale, case=""), "peers", "all of them", lambda: _with_kafka(scale))


def _with_kafka(scale: Scale) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        broker = KafkaBroker(home / "kafka")
        broker.start()
        try:
            for per_message, packing in ((REQUEST, "request"), (1, "event")):
                topics = [
                    filled(broker.bootstrap, f"{packing}-{name}", count, packing)
                    for name, count in (("few", FEW), ("all", scale.events + FEW))
                ]
                yield from _contest(scale, topics, home, per_message)
        finally:
            broker.stop()


def _contest(scale: Scale, topics: list[Topic], home: Path, per_message: int) -> Iterator[Row]:
    how = f"{per_message} event{'s' if per_message > 1 else ''} a message"
    ours = _speed("headrace", _headrace, topics, home)
    yield Row(group="peers", what=f"headrace, {how}", ours=ours, unit="events/s of a core")
    others = [(name, _peer(file), target) for name, (file, target) in PYPI.items()]
    files = MANY if per_message > 1 else {name: file for name, (file, _) in ON_PATH.items()}
    encoding = "text_encoding" if per_message > 1 else "json"
    others += [(name, _on_path(file, ON_PATH[name][1], encoding), CORE) for name, file in files.items()]
    for name, run, target in others:
        yield from told(scale, "peers", f"{name}, {how}", partial(_beside, name, how, ours, run, topics, home, target))


def _beside(
    name: str,
    how: str,
    ours: float,
    run: Callable[[Topic, Path], float],
    topics: list[Topic],
    home: Path,
    target: float,
) -> Iterator[Row]:
    theirs = _speed(name, run, topics, home)
    note = f"reference: it, on the same {topics[1][2]:,} events"
    yield compared("peers", f"{name}, {how}", [(ours, theirs)], at_least=target, note=note)


def _speed(name: str, run: Callable[[Topic, Path], float], topics: list[Topic], home: Path) -> float:
    """Events a second of CPU time; RuntimeError where not those events came out that were to."""
    used = []
    for topic in topics:
        out = Path(tempfile.mkdtemp(dir=home))
        used.append(run(topic, out))
        found, to_come = written(out), kept(topic[2])
        least = most = to_come
        if name in SAMPLES_OTHERWISE:
            least, most = to_come * 0.9, to_come * 1.1
        if not least <= found <= most:
            raise RuntimeError(f"{found:,} of {topic[2]:,} events came out, and {to_come:,} were to")
        if clear := unmasked(out):
            raise RuntimeError(f"{clear:,} addresses or cards came out as they went in")
        shutil.rmtree(out)
    return (topics[1][2] - topics[0][2]) / difference(used[1], used[0])


@cache
def kept(count: int) -> int:
    """How many of the first `count` payments the pipeline keeps, sampled by the users' SHA-256."""
    events = (msgspec.json.decode(line)["event"] for line in lines(count))
    paid = (event for event in events if event["status"] != "refunded")
    return sum(hashlib.sha256(event["user_id"].encode()).hexdigest()[0] < "8" for event in paid)


def written(out: Path) -> int:
    """Rows of the tables and files below a directory."""
    tables = [path.parent for path in out.rglob("_delta_log")]
    if tables:
        return sum(sum(DeltaTable(path).get_add_actions(flatten=True)["num_records"].to_pylist()) for path in tables)
    if files := list(out.rglob("*.parquet")):
        return sum(pq.read_metadata(file).num_rows for file in files)
    mark = b'"body":' if any(out.rglob("*.otlp")) else b"\n"
    return sum(text.count(mark) for text in _texts(out))


def unmasked(out: Path) -> int:
    """In how many places of what was written an e-mail address or a card stands as it went in."""
    found = sum(len(re.findall(CLEAR.encode(), text)) for text in _texts(out))
    for file in out.rglob("*.parquet"):
        if file.parent.name != "_delta_log":
            clear = "SELECT count(*) FROM read_parquet(?) AS one WHERE regexp_matches(one::VARCHAR, ?)"
            found += duckdb.execute(clear, [str(file), CLEAR]).fetchall()[0][0]
    return found


def _texts(out: Path) -> Iterator[bytes]:
    """The JSON in the files below a directory."""
    for file in out.rglob("*.otlp"):
        yield from _frames(file.read_bytes())
    for file in out.rglob("*.ndjson.zst"):
        yield _decompressed(file)
    for file in out.rglob("*.ndjson"):
        yield file.read_bytes()


def _decompressed(file: Path) -> bytes:
    with file.open("rb") as compressed:
        return zstandard.ZstdDecompressor().stream_reader(compressed, read_across_frames=True).read()


def _frames(data: bytes) -> Iterator[bytes]:
    """What OpenTelemetry's file exporter wrote: compressed frames, each with its size in four bytes before it."""
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        yield zstandard.ZstdDecompressor().decompress(data[at + 4 : end])
        at = end


def filled(bootstrap: str, topic: str, count: int, packing: str = "event") -> Topic:
    """A topic of one partition with `count` events; RuntimeError where it cannot be filled."""
    settings = KafkaLogSettings(
        bootstrap_servers=bootstrap,
        topic=topic,
        partitions=1,
        packing=packing,
        ack_timeout=60,  # type: ignore[arg-type]
    )
    fill(settings, count)
    return bootstrap, topic, count


def fill(settings: LogSettings, count: int, per_request: int = REQUEST) -> int:
    """Appends `count` payments in requests of `per_request` to the log; the bytes of their lines."""
    log, waiting, size = open_log(settings), [], 0
    for number, line in enumerate(lines(count), 1):
        waiting.append(line)
        if len(waiting) == per_request or number == count:
            value = b"\n".join(waiting)
            log.append(Record(STREAM, new_request_id(), now_microseconds(), len(waiting), value))
            size += len(value) + 1
            waiting = []
    log.close()
    return size


def config(data: Path, log: LogSettings) -> Path:
    """A headrace.yaml of the pipeline, on this log."""
    if isinstance(log, EmbeddedLogSettings):
        text = f"embedded: {{path: {log.path}, partitions: {log.partitions}}}"
    else:
        text = (
            f'kafka: {{bootstrap_servers: "{log.bootstrap_servers}", topic: {log.topic}, partitions: {log.partitions}}}'
        )
    data.mkdir(parents=True, exist_ok=True)
    file = data / "headrace.yaml"
    file.write_text(CONFIG.format(log=text, data=data, stream=STREAM))
    return file


def cpu_seconds(
    command: list[str],
    *,
    cwd: Path | None = None,
    ended: Callable[[], bool] | None = None,
    limit: float = LIMIT_SECONDS,
) -> float:
    """The CPU time of a command and of what it starts; RuntimeError if it fails or takes too long. One that never ends
    by itself is stopped once `ended` says so."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, cwd=cwd)
        late = threading.Timer(limit, lambda: os.killpg(process.pid, signal.SIGKILL))
        late.start()
        try:
            while ended is not None and not ended() and os.waitid(os.P_PID, process.pid, _PEEK) is None:
                time.sleep(0.2)
            if ended is not None:
                process.terminate()
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            late.cancel()
        process.returncode = code = os.waitstatus_to_exitcode(status)
        if code != 0 and ended is None:
            output.seek(0)
            raise RuntimeError(f"{Path(command[0]).name} ended with {code}: {_reason(output.read())}")
    return usage.ru_utime + usage.ru_stime


def drain(file: Path, *more: str, limit: float = LIMIT_SECONDS) -> float:
    """The CPU seconds of `headrace run --drain`."""
    return cpu_seconds([sys.executable, "-m", "headrace", "run", "--drain", "-c", str(file), *more], limit=limit)


def _headrace(topic: Topic, out: Path) -> float:
    bootstrap, name, _ = topic
    return drain(config(out, KafkaLogSettings(bootstrap_servers=bootstrap, topic=name, partitions=1)))


def _peer(file: str) -> Callable[[Topic, Path], float]:
    def run(topic: Topic, out: Path) -> float:
        bin_ = peers()
        if file.endswith(".py"):
            return cpu_seconds(
                [str(bin_ / "python"), str(HERE / file), topic[0], topic[1], str(out), str(topic[2])], cwd=out
            )
        text = _filled_in(HERE / file, topic, out)
        return cpu_seconds([str(bin_ / "tenzir"), f"--cache-directory={out / 'cache'}", "-f", str(text)], cwd=out)

    return run


def _on_path(file: str, command: list[str], encoding: str) -> Callable[[Topic, Path], float]:
    def run(topic: Topic, out: Path) -> float:
        program = shutil.which(command[0])
        if program is None:
            raise ServiceMissingError(f"`{command[0]}` is not on PATH")
        text, last = _filled_in(HERE / file, topic, out, encoding), [time.monotonic(), 0.0]

        def ended() -> bool:
            size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
            if size != last[1]:
                last[:] = time.monotonic(), size
            return last[0] + IDLE_SECONDS < time.monotonic() and size > text.stat().st_size

        return cpu_seconds([program, *command[1:], str(text)], cwd=out, ended=ended)

    return run


def _filled_in(template: Path, topic: Topic, out: Path, encoding: str = "") -> Path:
    text = template.read_text().replace("BOOTSTRAP", topic[0]).replace("TOPIC", topic[1]).replace("ENCODING", encoding)
    file = out / template.name
    file.write_text(text.replace("GROUP", uuid.uuid4().hex).replace("OUT", str(out)))
    return file


def _reason(output: bytes) -> str:
    """The line of a program's output that says why it failed, as far as one can tell."""
    lines_ = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines_ if "rror" in line and "Warning" not in line]
    return (errors or lines_ or ["it said nothing"])[-1][:300]
