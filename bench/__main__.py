"""All that is measured, as one table.

python -m bench                      # some minutes; --rows N events a batch, --rounds N, --only steps, --json FILE
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from bench import memory, pipeline, steps
from bench.measure import measure, table

GROUPS = {"pipeline": pipeline.cases, "steps": steps.cases, "memory": memory.cases}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=GROUPS, action="append")
    parser.add_argument("--json", type=Path, help="also write the results there")
    arguments = parser.parse_args()
    results = []
    for name, cases in GROUPS.items():
        if arguments.only and name not in arguments.only:
            continue
        for case in cases(arguments.rows):
            results.append(measure(case, arguments.rounds))
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(table(results))
    short = [one.name for one in results if one.ratio is not None and one.target is not None and one.ratio < one.target]
    print(f"\nbelow target: {', '.join(short) or 'none'}")
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)))


if __name__ == "__main__":
    main()
