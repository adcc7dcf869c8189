"""Programs out of Debian's packages, unpacked beside the system and not installed: no root needed, nothing replaced."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from tests.services.process import ServiceMissingError, cache_directory

LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "lib/aarch64-linux-gnu")


def unpacked(*packages: str) -> Path:
    """A directory with the files of the packages and of what they need that is not installed; kept in the cache."""
    target = cache_directory() / f"debian-{'-'.join(packages)}"
    if target.exists():
        return target
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise ServiceMissingError(f"{packages[0]} comes out of Debian's packages, and there is no `{program}`")
    cache_directory().mkdir(parents=True, exist_ok=True)
    with (cache_directory() / "debian.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not target.exists():
            partial = target.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            for archive in _fetched(packages):
                _run(["dpkg", "-x", str(archive), str(partial)])
            partial.rename(target)
    return target


def environment(root: Path, *more: str) -> dict[str, str]:
    """The environment in which programs below `root` find their libraries."""
    paths = [str(root / path) for path in (*LIBRARIES, *more)]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(paths)}


def _fetched(packages: tuple[str, ...]) -> list[Path]:
    """The archives. apt keeps its lists in the cache too, since those of the system may be old, or another's."""
    apt = cache_directory() / "apt"
    archives = apt / "-".join(packages)
    for directory in (apt / "lists" / "partial", archives / "partial"):
        directory.mkdir(parents=True, exist_ok=True)
    options = {
        "Dir::State::Lists": apt / "lists",
        "Dir::Cache": apt,
        "Dir::Cache::Archives": archives,
        "Debug::NoLocking": "1",  # nothing of the system is written
        "APT::Sandbox::User": "",
    }
    command = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    _run([*command, "update"])
    _run([*command, "--yes", "--download-only", "--reinstall", "--no-install-recommends", "install", *packages])
    return sorted(archives.glob("*.deb"))


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise ServiceMissingError(f"`{command[0]}` could not fetch or unpack a Debian package: {done.stderr[-500:]}")
