"""The owner of the lake's maintenance: a process a round, started by the dataflow's supervisor, one at a time.

    python -m flows.upkeep --config headrace.yaml

What a round needs of memory is given back when it ends, and nothing it does can hold the dataflow up. A lock in the data
directory says who the owner is; of several hosts the one that has process 0 is.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from connectors.counting import count_together
from connectors.errors import HeadraceError
from connectors.logger import configure_logging, get_logger
from connectors.parent import die_with
from connectors.sinks import dead_letters
from connectors.sinks.settings import DeltaDestination
from connectors.sinks.upkeep import compact, open_table, trim_log, vacuum
from flows.config import Config, load
from flows.config.rules import routed_to
from flows.rollups import table_of

VACUUM_EVERY = timedelta(days=1)

_log = get_logger()


class LakeTable(msgspec.Struct, frozen=True):
    """A Delta table of the configuration: its destination's name, and its own (a stream's, a rollup's, `dead_letters`)."""

    destination: str
    name: str
    settings: DeltaDestination


def lake_tables(config: Config) -> list[LakeTable]:
    """Every Delta table that the configuration can write, the dead letters last."""
    found: dict[tuple[str, str], LakeTable] = {}
    for stream, settings in config.streams.items():
        goes = [(name, stream) for name in routed_to(settings)]
        goes += [(name, table_of(stream, rollup)) for rollup in settings.rollups for name in rollup.to]
        for name, table in goes:
            destination = config.destinations.get(name)
            if isinstance(destination, DeltaDestination):
                found[name, table] = LakeTable(name, table, destination)
    letters = DeltaDestination(uri=str(config.data / dead_letters.NAME), partition_by=())
    return [*found.values(), LakeTable(dead_letters.NAME, dead_letters.NAME, letters)]


@contextmanager
def ownership(data: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether this process owns the maintenance of a data directory, until the block ends; `wait` waits until it does."""
    with _locked(data / "state" / "maintenance.lock", wait=wait) as mine:
        yield mine


@contextmanager
def dataflow_stopped(data: Path) -> Iterator[None]:
    """Keeps every dataflow of the data directory from running until the block ends; HeadraceError where one runs."""
    numbers = {0, *(int(file.stem) for file in (data / "state").glob("*.lock") if file.stem.isdigit())}
    with _all_locked([data / "state" / f"{number}.lock" for number in sorted(numbers)]) as mine:
        if not mine:
            raise HeadraceError(
                f"a dataflow runs on {data}", remedy="stop `headrace up` or `run` first; the gateway may go on"
            )
        yield


def run_round(config: Config, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
    """Looks at every table once. What cannot be done is logged, and tried again in the next round."""
    state = _State(config.data / "state" / "maintenance.json")
    for table in lake_tables(config):
        rules = table.settings.maintenance
        if not rules.enabled:
            continue
        try:
            handle = open_table(table.settings, table.name)
            if handle is None:
                continue
            for done in compact(handle, rules, now=now()):
                _log.info("compacted", table=table.name, destination=table.destination, **msgspec.structs.asdict(done))
            if state.vacuum_is_due(handle.table_uri, now()):
                deleted = vacuum(handle, rules.keep)
                trim_log(handle)
                state.vacuumed(handle.table_uri, now())
                if deleted:
                    _log.info("vacuumed", table=table.name, destination=table.destination, files=len(deleted))
        except HeadraceError as exc:
            _log.warning("maintenance could not be done", table=table.name, reason=str(exc))


class Rounds:
    """Starts the rounds of a running dataflow: `tick` often, `stop` at the end."""

    def __init__(self, config: Config, file: Path, text: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`text` is a file with what `file` held when `config` was accepted."""
        rules = [table.settings.maintenance for table in lake_tables(config)[:-1]]
        every = [rule.every.total_seconds() for rule in rules if rule.enabled]
        self._every = min(every, default=0.0)
        self._command = [sys.executable, "-m", "flows.upkeep", "--config", str(file), "--text", str(text)]
        self._command += ["--parent", str(os.getpid())]
        self._clock = clock
        self._due = clock() + self._every
        self._running: subprocess.Popen[bytes] | None = None

    def tick(self) -> None:
        """Starts a round when one is due and none runs."""
        if self._running is not None and self._running.poll() is not None:
            self._running = None
        if self._every and self._running is None and self._clock() >= self._due:
            self._due = self._clock() + self._every
            self._running = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        """Ends a round that runs: what it had not committed is as if it had not begun."""
        if self._running is not None and self._running.poll() is None:
            self._running.kill()
            self._running.wait()
        self._every = 0.0


class _State:
    """When each table was vacuumed; lost, it is done once more."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def vacuum_is_due(self, uri: str, now: datetime) -> bool:
        return now.timestamp() - self._read().get(uri, 0.0) >= VACUUM_EVERY.total_seconds()

    def vacuumed(self, uri: str, now: datetime) -> None:
        fresh = self._file.with_suffix(".tmp")
        fresh.write_bytes(msgspec.json.encode(self._read() | {uri: now.timestamp()}))
        fresh.replace(self._file)

    def _read(self) -> dict[str, float]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, float])
        except (FileNotFoundError, msgspec.DecodeError):
            return {}


@contextmanager
def _locked(file: Path, *, wait: bool) -> Iterator[bool]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


@contextmanager
def _all_locked(files: list[Path]) -> Iterator[bool]:
    if not files:
        yield True
        return
    with _locked(files[0], wait=False) as mine:
        if not mine:
            yield False
            return
        with _all_locked(files[1:]) as rest:
            yield rest


def main() -> None:
    """The entry point of a round."""
    parser = argparse.ArgumentParser(prog="python -m flows.upkeep", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--text", type=Path, help="a file with what the configuration held when it was accepted")
    parser.add_argument("--parent", type=int, help="end when this process ends")
    arguments = parser.parse_args()
    if arguments.parent is not None:
        die_with(arguments.parent)
    configure_logging(process="maintenance")
    count_together()
    try:
        config = load(arguments.config, text=arguments.text.read_bytes() if arguments.text else None)
        with ownership(config.data) as mine:
            if mine:
                run_round(config)
    except HeadraceError as exc:
        _log.error("maintenance cannot run", reason=str(exc))
        sys.exit(1)


if __name__ == "__main__":
    main()
