"""The environment of the programs that headrace is compared with: never that of headrace itself."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.services.process import ServiceMissingError, cache_directory

REQUIREMENTS = Path(__file__).with_name("peers.txt")


def peers() -> Path:
    """The directory of the peers' programs, installed on first need; ServiceMissingError where they cannot be had."""
    version = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:8]
    target = cache_directory() / f"peers-{version}"
    cache_directory().mkdir(parents=True, exist_ok=True)
    with (cache_directory() / "peers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / ".complete").exists():
            shutil.rmtree(target, ignore_errors=True)
            uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
            if uv is None:
                raise ServiceMissingError("the peers are installed by the `uv` package (`make setup` installs it)")
            _run([uv, "venv", "-q", "--python", sys.executable, str(target)])
            python = str(target / "bin" / "python")
            _run([uv, "pip", "install", "-q", "--require-hashes", "--python", python, "-r", str(REQUIREMENTS)])
            (target / ".complete").touch()
    return target / "bin"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        raise ServiceMissingError(f"the peers could not be installed: {done.stderr[-300:]}")
