"""A pipeline as a user writes it, and the commands that try it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner, Result

from headrace.cli import app

HEAD = """
destinations:
  lake: {type: delta, uri: "./lake/{stream}"}
  siem: {type: delta, uri: "./siem/{stream}"}
streams:
  payments:
    id: a0c3b4de-1923-4ff1-8dba-f92ad912d20f
"""


class Bench:
    """A directory with a headrace.yaml, and the command line in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "headrace.yaml"
        self.events = directory / "events.ndjson"

    def write(self, stream: str) -> None:
        """The configuration with this under the stream `payments`."""
        self.config.write_text(HEAD + textwrap.indent(textwrap.dedent(stream), "    "))

    def send(self, *events: Any) -> None:
        """The events as a file; a text is a line as it stands."""
        lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
        self.events.write_text("".join(line + "\n" for line in lines))

    def run(self, *arguments: str | Path) -> Result:
        """`headrace …`, in this process."""
        command, *rest = map(str, arguments)
        return CliRunner().invoke(app, [command, *rest, "-c", str(self.config)])

    def rows(self, *arguments: str | Path) -> list[dict[str, Any]]:
        """What `--json` prints."""
        found: list[dict[str, Any]] = json.loads(self.run(*arguments, "--json").stdout)
        return found


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """The commands quieten the process that they run in, which here is the tests' own."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)
