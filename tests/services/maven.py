"""Servers in Java: their jars as Maven Central has them, copied into the cache once."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import uuid
from pathlib import Path

from tests.services.process import ServiceMissingError, cache_directory


def java() -> str:
    """The path of `java`; ServiceMissingError where there is none."""
    return _found("java")


def libraries(name: str, pom: Path) -> Path:
    """The directory of the jars that `pom` names and what they need; the directory's name changes with the pom."""
    version = uuid.uuid5(uuid.NAMESPACE_OID, pom.read_text()).hex[:8]
    target = cache_directory() / f"{name}-{version}"
    if target.exists():
        return target
    maven = _found("mvn")
    cache_directory().mkdir(parents=True, exist_ok=True)
    with (cache_directory() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not target.exists():
            partial = target.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            command = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
            fetched = subprocess.run(
                [*command, f"-DoutputDirectory={partial}"], capture_output=True, text=True, timeout=600, check=False
            )
            if fetched.returncode != 0:
                raise ServiceMissingError(f"Maven could not fetch {name}: {fetched.stdout[-500:]}")
            partial.rename(target)
    return target


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise ServiceMissingError(f"a server in Java needs `{program}` (Java 17 and Maven)")
    return path
