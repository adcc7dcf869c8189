"""`python -m tests.breaking NAME…|--all`: breaks a copy of the tree, and exits 0 when the test that guards it failed."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.breaking.mechanisms import MECHANISMS, Mechanism

_ROOT = Path(__file__).resolve().parents[2]
_COPIED = ("headrace", "gateway", "flows", "connectors", "tests", "examples", "pyproject.toml")
_SECONDS = 900
_FAILED = 1  # pytest: tests ran, and some failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.breaking", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MECHANISMS)}")
    parser.add_argument("--all", action="store_true", help="every one (the better part of an hour)")
    parser.add_argument("--quick", action="store_true", help="every one that needs no server in Java and no many kills")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in MECHANISMS]:
        parser.error(f"there is no {', '.join(unknown)}")
    names = arguments.names or [
        name for name, one in MECHANISMS.items() if arguments.all or (arguments.quick and not one.slow)
    ]
    if not names:
        parser.error("name a mechanism, or say --all")
    unnoticed = 0
    print(f"{'taken out':24} {'promise':7}  {'its test':12} seconds")
    for name in names:
        began = time.monotonic()
        verdict, output = _noticed(MECHANISMS[name])
        print(f"{name:24} {MECHANISMS[name].promise:7}  {verdict:12} {time.monotonic() - began:5.0f}", flush=True)
        if verdict != "fails":
            unnoticed += 1
            print(output, flush=True)
    print(f"{len(names) - unnoticed} of {len(names)} are noticed")
    return 1 if unnoticed else 0


def _noticed(mechanism: Mechanism) -> tuple[str, str]:
    """`fails` where the test notices; what happened otherwise, and the end of what was printed."""
    with tempfile.TemporaryDirectory(prefix="headrace-breaking-") as where:
        copy = Path(where)
        for name in _COPIED:
            source = _ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, copy / name)
        for file, text, instead in mechanism.out:
            path = copy / file
            path.write_text(path.read_text().replace(text, instead))
        return _verdict(copy, mechanism)


def _verdict(copy: Path, mechanism: Mechanism) -> tuple[str, str]:
    more = ["-k", mechanism.k] if mechanism.k else []
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", mechanism.test, *more]
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy),  # before what is installed, in the processes that a test starts too
        "HEADRACE_CACHE": os.environ.get("HEADRACE_CACHE", str(_ROOT / ".cache")),
        "HEADRACE_REQUIRE_SERVICES": "1",
    }
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "fails", "it did not end"
    aborted = (
        done.returncode < 0 and "in pytest_runtest_call" in done.stderr
    )  # a library ended the process within a test
    if aborted or (done.returncode == _FAILED and "service missing" not in done.stdout):
        return "fails", ""
    verdict = "passes" if done.returncode == 0 else "cannot run"
    return verdict, done.stdout[-3000:] + done.stderr[-1000:]


if __name__ == "__main__":
    sys.exit(main())
