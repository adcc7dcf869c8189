"""The wall clock of headrace's processes, which can jump without the machine's: `clock.c`, compiled and preloaded."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

from tests.services.process import ServiceMissingError


def library(directory: Path) -> Path:
    """`clock.c` compiled; ServiceMissingError where it cannot be."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise ServiceMissingError("a clock that jumps needs a C compiler (`cc`)")
    made = directory / "clock.so"
    source = Path(__file__).with_name("clock.c")
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(made), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServiceMissingError(f"clock.c does not compile here: {done.stderr[-300:]}")
    return made


class Clock:
    """One for all processes that have its `environment`."""

    def __init__(self, file: Path, preloaded: Path | None) -> None:
        file.write_bytes(bytes(8))
        descriptor = os.open(file, os.O_RDWR)
        self._mapped = mmap.mmap(descriptor, 8)
        os.close(descriptor)
        self._file = file
        self._preloaded = preloaded

    def jump(self, seconds: int) -> None:
        """To so many seconds from the true time."""
        self._mapped[:8] = struct.pack("=q", seconds)

    def environment(self) -> dict[str, str]:
        if self._preloaded is None:
            return {}
        return {"LD_PRELOAD": str(self._preloaded), "TORTURE_CLOCK": str(self._file)}
