"""One dataflow process: started, watched and stopped by `flows.run`, never by hand.

    python -m flows.worker --config headrace.yaml --process 0 --processes 1 [--drain]

It speaks to its supervisor in lines on stdout: `ready` once it reads, `flushed` once everything read is committed.
SIGTERM and SIGINT end reading and commit; the process then waits to be killed, so that nothing is closed that is open.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main

from connectors.counting import count_together
from connectors.errors import ConfigError, HeadraceError
from connectors.log import Log, open_log
from connectors.logger import configure_logging, get_logger
from connectors.parent import die_with
from connectors.source import Stop
from connectors.without_pandas import leave_pandas_alone
from flows.config import load
from flows.exits import EXIT_CLOCK, EXIT_CONFIG
from flows.graph import NAME, build
from flows.recovery import prepare, state_directory

_EPOCH = timedelta(seconds=1)

_SET_BACK = 1.0  # seconds that the clock may go back by

_log = get_logger()


def main() -> None:
    """The entry point of a dataflow process."""
    arguments = _arguments()
    if arguments.parent is not None:
        die_with(arguments.parent)
    configure_logging(process=arguments.process)
    leave_pandas_alone()
    count_together()
    try:
        _run(arguments)
    except ConfigError as exc:
        _log.error("the dataflow cannot start", reason=str(exc))
        _leave(EXIT_CONFIG)
    except HeadraceError as exc:
        _log.error("the dataflow stops", reason=str(exc))
        _leave(1)


def _run(arguments: argparse.Namespace) -> None:
    held = arguments.text.read_bytes() if arguments.text else None
    config = load(arguments.config, text=held)
    log = open_log(config.log)
    stop = Stop(_ends(log) if arguments.drain else None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.request())
    threading.Thread(target=_announce, args=(stop,), daemon=True).start()
    threading.Thread(target=_watch_clock, daemon=True).start()
    directory = state_directory(config.data, log.identity, arguments.process, arguments.processes)
    prepare(directory)
    flow = build(config, log, stop, process=arguments.process, processes=arguments.processes)
    cli_main(flow, epoch_interval=_EPOCH, recovery_config=RecoveryConfig(directory, timedelta(0)))


def _announce(stop: Stop) -> None:
    stop.started.wait()
    print("ready", flush=True)
    stop.done.wait()
    print("flushed", flush=True)


def _watch_clock() -> None:
    """Ends the process once the clock was set back: to the engine, what is to wake in 20 ms by the old one sleeps on."""
    ahead = time.time() - time.monotonic()
    while True:
        time.sleep(1.0)
        now = time.time() - time.monotonic()
        if now < ahead - _SET_BACK:
            _log.warning("the clock was set back; this process starts again", seconds=round(ahead - now, 1))
            _leave(EXIT_CLOCK)
        ahead = now


def _ends(log: Log) -> dict[int, int]:
    reader = log.reader(range(log.partitions), {}, group=NAME)
    try:
        return reader.end_offsets()
    finally:
        reader.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m flows.worker", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--text", type=Path, help="a file with what the configuration held when it was accepted")
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--parent", type=int, help="end when this process ends")
    parser.add_argument("--drain", action="store_true")
    return parser.parse_args()


def _leave(code: int) -> None:
    """Exits without the interpreter's farewell: engine threads may still hold what it would tear down."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
