"""The owner of the lake's maintenance: a process a round, started by the dataflow's supervisor, one at a time.

    python -m flows.upkeep --config headrace.yaml

What a round needs of memory is given back when it ends, and nothing it does can hold the dataflow up. A lock in the data
directory says who the owner is; of several hosts the one that has process 0 is.
"""

from __future__ import annotations

import argparse
import fcntl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from connectors.counting import count_together
from connectors.errors import HeadraceError
from connectors.logger import configure_logging, get_logger
from connectors.parent import die_with
from connectors.sinks.upkeep import compact, open_table, trim_log, vacuum
from flows.config import Config, load
from flows.lake_tables import lake_tables

VACUUM_EVERY = timedelta(days=1)

TRIM_EVERY = 1_000
"""Commits of a table after which its log is trimmed: whoever opens the table lists all of the log."""

_log = get_logger()


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
                state.vacuumed(handle.table_uri, now())
                if deleted:
                    _log.info("vacuumed", table=table.name, destination=table.destination, files=len(deleted))
                trim_log(handle)
                state.trimmed(handle.table_uri, handle.version())
            elif state.trim_is_due(handle.table_uri, handle.version()):
                trim_log(handle)
                state.trimmed(handle.table_uri, handle.version())
        except HeadraceError as exc:
            _log.warning("maintenance could not be done", table=table.name, reason=str(exc))


class _State:
    """When each table was vacuumed, and at which version its log was trimmed; lost, it is done once more."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def vacuum_is_due(self, uri: str, now: datetime) -> bool:
        return now.timestamp() - self._read().get(uri, 0.0) >= VACUUM_EVERY.total_seconds()

    def vacuumed(self, uri: str, now: datetime) -> None:
        self._write(uri, now.timestamp())

    def trim_is_due(self, uri: str, version: int) -> bool:
        return version - self._read().get(f"log of {uri}", 0) >= TRIM_EVERY

    def trimmed(self, uri: str, version: int) -> None:
        self._write(f"log of {uri}", version)

    def _write(self, name: str, value: float) -> None:
        fresh = self._file.with_suffix(".tmp")
        fresh.write_bytes(msgspec.json.encode(self._read() | {name: value}))
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
