"""A file that is written over whole or not at all, and read by nobody else: it may hold what a configuration says."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(file: Path, content: bytes) -> None:
    """On the disk when it returns; whoever reads meanwhile, or after a crash, finds the old or the new. Raises OSError."""
    new = file.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)
