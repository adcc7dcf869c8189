"""All that is measured, as one table.

python -m bench                 # each group has its time: at most 80 minutes in all; --quick is a coarse look; --only GROUP

Each group runs in a process of its own with a time of its own: one that fails, hangs or lacks something costs its own
rows and no other's.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.measure import measure
from bench.rows import Row, Scale, of_result, table, told

GROUPS = {
    "dataflow": 900,
    "pipeline": 300,
    "steps": 600,
    "memory": 300,
    "gateway": 420,
    "peers": 900,
    "latency": 300,
    "lasting": 600,
    "worst": 420,
    "cost": 180,
}
"""What is measured, each by the module of this name, and the seconds that it may take. A module has `cases(rows)`, which
are then measured here, or `rows(scale)`, which measures by itself."""

QUICK = Scale(rows=5_000, rounds=2, seconds=1.0, events=50_000)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rows", type=int, help="events a batch")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of load, a round")
    parser.add_argument("--events", type=int, help="through a whole dataflow")
    parser.add_argument("--quick", action="store_true", help="a coarse look in some minutes")
    parser.add_argument("--full", action="store_true", help="also what takes many minutes: 50 million events")
    parser.add_argument("--case", default="", help="only what has this text in its name")
    parser.add_argument("--only", choices=GROUPS, action="append")
    parser.add_argument("--json", type=Path, help="also write the results there")
    parser.add_argument("--child", choices=GROUPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    scale = QUICK if arguments.quick else Scale()
    chosen = {name: getattr(arguments, name) for name in ("rows", "rounds", "seconds", "events")}
    scale = msgspec.structs.replace(
        scale,
        full=arguments.full,
        case=arguments.case,
        **{name: value for name, value in chosen.items() if value is not None},
    )
    if arguments.child:
        whole = msgspec.structs.replace(scale, case="")
        for row in told(whole, arguments.child, "all of it", lambda: measured(arguments.child, scale)):
            print(msgspec.json.encode(row).decode(), flush=True)
        return
    rows: list[Row] = []
    for name, limit in GROUPS.items():
        if not arguments.only or name in arguments.only:
            for row in of_child(name, scale, limit * (20 if scale.full else 1)):
                rows.append(row)
                print(f"{row.group}: {row.what}", file=sys.stderr, flush=True)
    print(table(rows))
    print(f"\nbelow target: {', '.join(row.what for row in rows if row.met is False) or 'none'}")
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(rows)))


def measured(group: str, scale: Scale) -> Iterator[Row]:
    """The rows of a group, in this process."""
    module = importlib.import_module(f"bench.{group}")
    if hasattr(module, "rows"):
        yield from module.rows(scale)
        return
    for case in module.cases(scale.rows):
        if scale.case in case.name:
            yield of_result(measure(case, scale.rounds))


def of_child(group: str, scale: Scale, limit: float) -> Iterator[Row]:
    """The rows of a group as a child process finds them, and one more if that fails or has to be ended."""
    options = [f"--{name}={getattr(scale, name)}" for name in ("rows", "rounds", "seconds", "events", "case")]
    command = [sys.executable, "-m", "bench", "--child", group, *options, *(["--full"] if scale.full else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            child.terminate()

        timer = threading.Timer(limit, end)
        timer.start()
        try:
            for line in child.stdout:
                if line.startswith("{"):
                    yield msgspec.json.decode(line, type=Row)
        finally:
            timer.cancel()
        code = child.wait()
    if late.is_set():
        yield Row(group=group, what="the rest", note=f"not measured: it took more than {limit:g} s")
    elif code != 0:
        yield Row(group=group, what="the rest", note=f"failed: its process ended with {code}")


if __name__ == "__main__":
    main()
