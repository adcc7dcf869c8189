"""A worked example as its reader has it: a copy of its directory, the blocks of its README run from the top."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
from deltalake import DeltaTable

import headrace
from tests.cli.conftest import DEADLINE, Up, environment

EXAMPLES = Path(__file__).parents[2] / "examples"
BLOCK = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KEY = "an example's key, thirty-two characters or more"


class Done(NamedTuple):
    """A block that was run: what it is, what it said, and what the README says that it says."""

    text: str
    stdout: str
    stderr: str
    code: int
    expected: str | None


class Worked:
    """An example in a directory of its own, after its README was followed."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory / name
        shutil.copytree(EXAMPLES / name, self.directory)
        self.environment = environment(MASK_KEY=KEY)
        self.blocks = self._follow()

    def _follow(self) -> list[Done]:
        found = list(BLOCK.finditer((self.directory / "README.md").read_text()))
        gateway = Up(self.directory, ["serve", "--port", "0", "--workers", "1"])
        try:
            gateway.wait_until_ready()
            self.environment["HEADRACE_URL"] = gateway.url
            done = []
            for block, following in zip(found, [*found[1:], None], strict=True):
                if block[1] or block[2] == "text":
                    continue
                shown = following[3] if following is not None and following[2] == "text" else None
                done.append(self._run(block[2], block[3], shown))
            return done
        finally:
            gateway.stop()

    def _run(self, language: str, text: str, shown: str | None) -> Done:
        command = ["/bin/bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
        bin_first = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            [*command, text],
            cwd=self.directory,
            env=self.environment | {"PATH": bin_first},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        return Done(text, done.stdout, done.stderr, done.returncode, shown)

    def rows(self, stream: str) -> list[dict[str, Any]]:
        """What landed in the stream's table in the lake."""
        found: list[dict[str, Any]] = headrace.table(stream, config=self.directory / "headrace.yaml").to_pylist()
        return found

    def table(self, below_data: str) -> list[tuple[Any, ...]]:
        """All rows of another Delta table, named by its path below `data`."""
        files = DeltaTable(str(self.directory / "data" / below_data)).file_uris()
        with duckdb.connect() as engine:
            return engine.execute("FROM read_parquet($1, union_by_name = true)", [files]).fetchall()
