"""`make demo`: the main job from end to end, in ./demo, on this machine alone.

Starts the gateway and the dataflow, sends one event with curl, some thousands from the seeded generator and, where
they are found, real system logs; waits until all of it is in the lake, and reads it back with SQL. Exits 0 only if
every event is there once.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

import orjson

from connectors.errors import HeadraceError
from headrace.generate import KINDS, generate
from headrace.supervisor import FOLLOW_STDIN, READY
from headrace.terminal import announce

PAYMENTS_ID = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"
COUNTS = {"payments": 8_000, "web": 6_000, "app": 4_000, "iot": 2_000}
SEED = 20250212

EVENT = """\
{
  "timestamp": "2025-02-12T14:32:15Z",
  "source": "payments-app",
  "event": {
    "transactionId": "txn_30921",
    "status": "approved",
    "latency_ms": 182,
    "amount": 499,
    "currency": "USD"
  },
  "metadata": {
    "env": "prod",
    "team": "payments"
  }
}
"""

CURL = """\
curl -X POST "{url}/v1/streams/ingest" \\
  -H "Authorization: Bearer $TOKEN" \\
  -H "Content-Type: application/json" \\
  -H "X-Stream-Id: $STREAM_ID" \\
  -d @event.json"""

CONFIG = """\
# The demo's configuration, written anew by each run of `make demo`.
data: ./data

streams:
  payments:
    id: {payments}
    types: {{event.amount: "DECIMAL(18,2)"}}
    steps:
      - set:  {{event.large: event.amount >= 500}}
      - drop: [event.card, event.user.email]
  web:
    id: 5b1e7c1e-6d0e-4a5c-9d53-0a64a1a6f001
    steps:
      - filter: event.path IS DISTINCT FROM '/healthz'      # a fifth of the traffic, and nobody reads it
  app: {{id: 5b1e7c1e-6d0e-4a5c-9d53-0a64a1a6f002}}
  iot:
    id: 5b1e7c1e-6d0e-4a5c-9d53-0a64a1a6f003
    types: {{event.level_cm: BIGINT}}     # some gauges begin to send fractions: see `_rescued`
"""

QUERIES = (
    (
        "payments by status",
        "SELECT event.status AS status, count(*) AS payments, sum(event.amount) AS total,"
        " round(quantile_cont(event.latency_ms, 0.95)) AS p95_ms FROM payments GROUP BY ALL ORDER BY payments DESC",
    ),
    (
        "the event that curl sent",
        "SELECT timestamp, source, event.transactionId, event.amount, metadata.team FROM payments"
        " WHERE event.transactionId = 'txn_30921'",
    ),
    (
        "server errors of the shop by path",
        "SELECT event.path AS path, count(*) FILTER (event.status >= 500) AS errors, count(*) AS requests"
        " FROM web GROUP BY ALL ORDER BY errors DESC, path",
    ),
)

_READY_DEADLINE = 60.0  # seconds
_LANDED_DEADLINE = 180.0


class Failed(HeadraceError):
    """The demo did not show what it should."""


def main() -> None:
    """Runs the demo; `--stay` leaves headrace running until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m headrace.demo", description="The main job, end to end.")
    parser.add_argument("--stay", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("--directory", type=Path, default=Path("demo"))
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _fresh_directory(arguments.directory) as directory:
            _run(directory, stay=arguments.stay)
    except HeadraceError as exc:
        print(f"demo: {exc}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _run(directory: Path, *, stay: bool) -> None:
    logs = _system_logs()
    config = directory / "headrace.yaml"
    config.write_text(_configuration(logs))
    token = orjson.loads(_headrace("token", "create", "--all-streams", "--json", "-c", str(config)))["token"]
    with _running(config, directory / "up.log", port=8080 if stay else 0) as url:
        announce(f"headrace is up at {url}\n")
        environment = os.environ | {"HEADRACE_TOKEN": token, "HEADRACE_CONFIG": str(config), "HEADRACE_URL": url}
        _send_with_curl(directory, url, token)
        tallies = [_send_generated(directory, kind, environment) for kind in KINDS]
        tallies += [_send_log(stream, file, environment) for stream, file in logs.items()]
        _wait_until_landed(config, tallies)
        _show(config)
        if stay:
            _account(config, tallies)
            announce(f"\nstill taking events at {url}; Ctrl-C stops it. A token for all streams: {token}")
            with suppress(KeyboardInterrupt):
                signal.pause()
            return
    # Counted after the end, not at the first moment that enough was there: a doubled event would come late.
    _account(config, tallies)
    announce(f"\nlook further:  {directory}/data/lake (a Delta table a stream), {config}, {directory}/up.log")
    announce("               notebooks/01-first-look.ipynb, README.md")


class _Tally(NamedTuple):
    """What was sent to a stream, and what its pipeline drops of it."""

    stream: str
    sent: int
    dropped: int = 0

    @property
    def landing(self) -> int:
        return self.sent - self.dropped


def _system_logs() -> dict[str, Path]:
    """Real logs, where the Loghub collection is found: by stream name, its file."""
    folder = Path(os.environ.get("HEADRACE_DATA", "../shared/data")) / "loghub"
    return {file.parent.name.lower(): file for file in sorted(folder.glob("*/*_2k.log"))}


def _configuration(logs: dict[str, Path]) -> str:
    more = "".join(
        f"  {name}: {{id: 5b1e7c1e-6d0e-4a5c-9d53-0a64a1a6f1{place:02x}}}\n" for place, name in enumerate(logs)
    )
    return CONFIG.format(payments=PAYMENTS_ID) + more


def _send_generated(directory: Path, kind: str, environment: dict[str, str]) -> _Tally:
    folder = directory / "input"
    folder.mkdir(exist_ok=True)
    dropped = 0
    with (folder / f"{kind}.ndjson").open("wb") as file:
        for event in generate(kind, COUNTS[kind], seed=SEED):
            file.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
            dropped += event["event"].get("path") == "/healthz"
    _show_and_run(["send", kind, str(folder / f"{kind}.ndjson")], environment)
    by_curl = kind == "payments"
    return _Tally(kind, COUNTS[kind] + by_curl, dropped)


def _send_log(stream: str, log: Path, environment: dict[str, str]) -> _Tally:
    with log.open("rb") as file:
        lines = sum(1 for line in file if line.rstrip(b"\r\n"))
    _show_and_run(["send", stream, str(log), "--raw", "--source", stream], environment)
    return _Tally(stream, lines)


def _send_with_curl(directory: Path, url: str, token: str) -> None:
    (directory / "event.json").write_text(EVENT)
    command = CURL.format(url=url)
    announce(f"$ {command}")
    if shutil.which("curl"):
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=directory,
            env=os.environ | {"TOKEN": token, "STREAM_ID": PAYMENTS_ID},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        answer = done.stdout or done.stderr
    else:
        import urllib3

        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "X-Stream-Id": PAYMENTS_ID}
        answer = urllib3.request("POST", f"{url}/v1/streams/ingest", body=EVENT, headers=headers).data.decode()
    announce(f"{answer}\n")
    if '"accepted"' not in answer:
        raise Failed(f"the gateway did not accept the event: {answer}")


def _wait_until_landed(config: Path, tallies: list[_Tally]) -> None:
    announce("")
    deadline = time.monotonic() + _LANDED_DEADLINE
    while True:
        landed = _landed(config)
        short = [tally for tally in tallies if landed.get(tally.stream, (0, 0))[0] < tally.landing]
        if not short:
            return
        if time.monotonic() > deadline:
            missing = ", ".join(f"{t.stream}: {landed.get(t.stream, (0, 0))[0]:,} of {t.landing:,}" for t in short)
            raise Failed(f"not everything landed within {_LANDED_DEADLINE:.0f} s: {missing}")
        time.sleep(0.5)


def _landed(config: Path) -> dict[str, tuple[int, int]]:
    """For each stream that has a table: its rows, and how many different events they are."""
    from headrace.lake import connect

    with connect(config) as lake:
        views = lake.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        counts = {
            name: lake.execute(f'SELECT count(*), count(DISTINCT event_id) FROM "{name}"').fetchall()[0]
            for (name,) in views
        }
    return {name: (int(rows), int(events)) for name, (rows, events) in counts.items()}


def _show(config: Path) -> None:
    from headrace.lake import connect

    with connect(config) as lake:
        for title, sql in QUERIES:
            announce(f"{title}\n{sql}")
            lake.sql(sql).show()


def _account(config: Path, tallies: list[_Tally]) -> None:
    """Prints sent against landed; raises Failed unless every event is there once."""
    landed = _landed(config)
    announce(f"{'stream':12} {'sent':>9} {'filtered':>9} {'landed':>9} {'distinct':>9}")
    wrong = []
    for tally in tallies:
        rows, events = landed.get(tally.stream, (0, 0))
        announce(f"{tally.stream:12} {tally.sent:9,} {tally.dropped:9,} {rows:9,} {events:9,}")
        if not tally.landing == rows == events:
            wrong.append(tally.stream)
    announce(f"{'all':12} {sum(t.sent for t in tallies):9,} {sum(t.dropped for t in tallies):9,}")
    if wrong:
        raise Failed(f"events are missing or doubled in: {', '.join(wrong)}")
    announce("every event is there, once")


@contextmanager
def _fresh_directory(directory: Path) -> Iterator[Path]:
    """An empty directory that this run alone uses; what an earlier demo left in it is removed."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".demo").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failed(f"another demo runs in {directory}", remedy="stop it first (make up?)") from None
        for name in ("data", "input"):
            shutil.rmtree(directory / name, ignore_errors=True)
        yield directory


@contextmanager
def _running(config: Path, log: Path, *, port: int) -> Iterator[str]:
    """`headrace up` for as long as the block lasts; gives its URL. What it says goes to `log`."""
    from gateway.port import reserve

    try:
        reserve("127.0.0.1", port)[1].close()
    except HeadraceError:
        port = 0
    command = [sys.executable, "-m", "headrace", "up", "-c", str(config), "--port", str(port)]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            process_group=0,
            env=os.environ | FOLLOW_STDIN,
        )
    try:
        yield _url(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
    if process.returncode != 0:
        raise Failed(f"headrace did not stop cleanly (exit code {process.returncode}); see {log}")


def _url(process: subprocess.Popen[str], log: Path) -> str:
    output: IO[str] | None = process.stdout
    assert output is not None
    watchdog = signal.signal(signal.SIGALRM, lambda *_: process.kill())
    signal.setitimer(signal.ITIMER_REAL, _READY_DEADLINE)
    try:
        for line in output:
            if line.startswith(READY):
                return line.split()[1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, watchdog)
    raise Failed(f"headrace did not start; its last words:\n{''.join(log.read_text().splitlines(True)[-10:])}")


def _show_and_run(arguments: list[str], environment: dict[str, str]) -> None:
    announce(f"$ headrace {' '.join(arguments)}")
    announce(_headrace(*arguments, environment=environment).strip())


def _headrace(*arguments: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=180,
        check=False,
    )
    if done.returncode != 0:
        raise Failed(f"headrace {arguments[0]} failed (exit code {done.returncode}): {done.stdout}")
    return done.stdout


if __name__ == "__main__":
    main()
