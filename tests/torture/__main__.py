"""`python -m tests.torture`: exit 0 when every promise held, 1 when one did not, 2 when it could not be tried.

Two processes: this one watches the clock and the orphans, the other, in a mount namespace of its own, does the work. So
whatever hangs, everything ends, and a disk that was mounted for it is gone with it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.services.process import ServiceMissingError
from tests.torture import processes
from tests.torture.run import run

_BESIDE = 15 * 60  # seconds for the start, the last recovery, the drain and the judgement


def main() -> int:
    arguments = _arguments()
    if arguments.inside:
        return _inside(arguments)
    seed = arguments.seed if arguments.seed is not None else int(time.time()) % 100_000
    directory = Path(arguments.directory or tempfile.mkdtemp(prefix="headrace-torture-"))
    directory.mkdir(parents=True, exist_ok=True)
    again = ["--minutes", str(arguments.minutes), "--seed", str(seed), *(["--local"] if arguments.local else [])]
    command = [*_namespace(), sys.executable, "-m", "tests.torture", "--inside", "--directory", str(directory), *again]
    processes.adopt_orphans()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    code = 2
    try:
        code = subprocess.Popen(command).wait(arguments.minutes * 60 + _BESIDE)
    except subprocess.TimeoutExpired:
        print("torture: it hung, and was ended", file=sys.stderr)
        code = 1
    finally:
        if left := processes.end_all():
            print(f"torture: processes {left} could not be ended", file=sys.stderr)
            code = 1
    if code == 0 and not arguments.directory:
        shutil.rmtree(directory, ignore_errors=True)
    elif code != 0:
        print(
            f"torture: FAILED; the logs are in {directory}; the same faults again: "
            f"python -m tests.torture {' '.join(again)}",
            file=sys.stderr,
        )
    return code


def _inside(arguments: argparse.Namespace) -> int:
    from connectors.parent import die_with

    die_with(os.getppid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    processes.adopt_orphans()
    try:
        good = run(Path(arguments.directory), minutes=arguments.minutes, seed=arguments.seed, local=arguments.local)
    except ServiceMissingError as exc:
        print(f"torture: {exc}", file=sys.stderr)
        return 2
    finally:
        processes.end_all()
    return 0 if good else 1


def _namespace() -> list[str]:
    """What gives a process a mount namespace of its own: as root, else as a user; nothing where neither can be had."""
    for more in ([], ["--user", "--map-root-user"]):
        command = ["unshare", "--mount", "--propagation", "private", *more]
        try:
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
        except FileNotFoundError:
            break
    return []


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long faults are done (default 10)")
    parser.add_argument("--seed", type=int, help="of the schedule and the load; drawn and printed where left out")
    parser.add_argument("--directory", help="where everything is kept; else a temporary one, kept only on failure")
    parser.add_argument(
        "--local", action="store_true", help="embedded log, lake on the disk: no servers, half a minute will do"
    )
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
