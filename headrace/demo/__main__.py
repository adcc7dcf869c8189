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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson

from connectors.errors import HeadraceError
from headrace.demo.landed import Tally, account, show, wait_until_landed
from headrace.demo.running import Failed, running
from headrace.demo.texts import CONFIG, CURL, EVENT, PAYMENTS_ID
from headrace.generate import KINDS, generate
from headrace.terminal import announce

COUNTS = {"payments": 8_000, "web": 6_000, "app": 4_000, "iot": 2_000}
SEED = 20250212


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
    with running(config, directory / "up.log", port=8080 if stay else 0) as url:
        announce(f"headrace is up at {url}\n")
        environment = os.environ | {"HEADRACE_TOKEN": token, "HEADRACE_CONFIG": str(config), "HEADRACE_URL": url}
        _send_with_curl(directory, url, token)
        tallies = [_send_generated(directory, kind, environment) for kind in KINDS]
        tallies += [_send_log(stream, file, environment) for stream, file in logs.items()]
        wait_until_landed(config, tallies)
        show(config)
        if stay:
            account(config, tallies)
            announce(f"\nstill taking events at {url}; Ctrl-C stops it. A token for all streams: {token}")
            with suppress(KeyboardInterrupt):
                signal.pause()
            return
    # Counted after the end, not at the first moment that enough was there: a doubled event would come late.
    account(config, tallies)
    announce(f"\nlook further:  {directory}/data/lake (a Delta table a stream), {config}, {directory}/up.log")
    announce("               notebooks/01-first-look.ipynb, README.md")


def _system_logs() -> dict[str, Path]:
    """Real logs, where the Loghub collection is found: by stream name, its file."""
    folder = Path(os.environ.get("HEADRACE_DATA", "../shared/data")) / "loghub"
    return {file.parent.name.lower(): file for file in sorted(folder.glob("*/*_2k.log"))}


def _configuration(logs: dict[str, Path]) -> str:
    more = "".join(
        f"  {name}: {{id: 5b1e7c1e-6d0e-4a5c-9d53-0a64a1a6f1{place:02x}}}\n" for place, name in enumerate(logs)
    )
    return CONFIG.format(payments=PAYMENTS_ID) + more


def _send_generated(directory: Path, kind: str, environment: dict[str, str]) -> Tally:
    folder = directory / "input"
    folder.mkdir(exist_ok=True)
    dropped = 0
    with (folder / f"{kind}.ndjson").open("wb") as file:
        for event in generate(kind, COUNTS[kind], seed=SEED):
            file.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
            dropped += event["event"].get("path") == "/healthz"
    _show_and_run(["send", kind, str(folder / f"{kind}.ndjson")], environment)
    by_curl = kind == "payments"
    return Tally(kind, COUNTS[kind] + by_curl, dropped)


def _send_log(stream: str, log: Path, environment: dict[str, str]) -> Tally:
    with log.open("rb") as file:
        lines = sum(1 for line in file if line.rstrip(b"\r\n"))
    _show_and_run(["send", stream, str(log), "--raw", "--source", stream], environment)
    return Tally(stream, lines)


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
