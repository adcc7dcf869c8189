"""The documentation is run: its shell and Python blocks, in a fresh directory with a live gateway, and its YAML checked.

A block that cannot be run stands after a comment `<!-- not run: the reason -->`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from connectors.errors import HeadraceError
from connectors.log.settings import EmbeddedLogSettings, KafkaLogSettings
from connectors.sinks.settings import DeltaDestination, Maintenance, ParquetDestination, Pushed
from connectors.sinks.snowflake.settings import SnowflakeDestination
from connectors.sinks.syslog.settings import Cef
from flows.config import Limits, Stream, StreamTest, check, render_text
from flows.config.settings import STEPS
from flows.lookups.settings import Lookup
from flows.rollups import Rollup
from flows.routes import Route
from flows.steps import Enrich, Window
from gateway.answers import STATUS
from tests.cli.conftest import DEADLINE, Place, Up, environment, ndjson

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{file.name}" for file in sorted((ROOT / "docs").glob("*.md")))]
BLOCK = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = ("bash", "python", "yaml")


def blocks(*languages: str) -> list[object]:
    """Every block of these languages that can be run, named by its page and line."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text()
        for match in BLOCK.finditer(text):
            if match[2] in languages and not match[1]:
                line = text[: match.start()].count("\n") + 1
                found.append(pytest.param(match[2], match[3], id=f"{page}:{line}"))
    return found


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Up]]:
    """What a reader has by then: `headrace init` and `up` done, a file of events, a file of log lines, one row landed."""
    place = Place(tmp_path_factory.mktemp("reader"))
    (place.directory / "events.ndjson").write_bytes(ndjson("docs", 20))
    (place.directory / "app.log").write_text("one line\nanother\n")
    with place.running() as up:
        assert place.post(up.url, b'{"source": "docs", "event": {"n": 1}}').status == 200
        place.wait_for_rows(1)
        yield place, up


@pytest.mark.parametrize(("language", "text"), blocks("bash", "python"))
def test_a_block_runs_as_it_stands(live: tuple[Place, Up], language: str, text: str) -> None:
    place, up = live
    here = text.replace("http://127.0.0.1:8080", up.url)  # the port is the test's own
    command = ["/bin/bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
    bin_first = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*command, here],
        cwd=place.directory,
        env=environment(
            PATH=bin_first, TOKEN=place.made["token"], STREAM_ID=place.made["stream_id"], HEADRACE_URL=up.url
        ),
        capture_output=True,
        text=True,
        timeout=min(270, DEADLINE * len(text.splitlines())),  # each line may be a command; pytest's own limit is 300
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "/v1/streams/ingest" in text:
        assert '"accepted"' in done.stdout


@pytest.mark.parametrize(("_", "text"), blocks("yaml"))
def test_a_configuration_is_valid(_: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "headrace.yaml"
    file.write_text(text)
    try:
        problems = check(file)
    except HeadraceError as exc:
        pytest.fail(str(exc))
    assert not problems, render_text(problems)


def test_every_block_says_its_language_and_only_some_are_not_run() -> None:
    for page in PAGES:
        text = (ROOT / page).read_text()
        fences = [line for line in text.splitlines() if line.startswith("```")]
        assert len(fences) == 2 * len(BLOCK.findall(text)), f"{page}: a fence without a language, or without its end"
    assert len(blocks(*RUN)) >= 15


@pytest.mark.parametrize("code", STATUS)
def test_an_error_of_the_api_is_explained_with_its_status(code: str) -> None:
    rows = [line for line in (ROOT / "docs/http.md").read_text().splitlines() if line.startswith("|")]
    assert [row for row in rows if f"`{code}`" in row and f"| {STATUS[code]} |" in row]


@pytest.mark.parametrize(
    ("of", "name"),
    [
        (struct, field.encode_name)
        for struct in (
            EmbeddedLogSettings,
            KafkaLogSettings,
            DeltaDestination,
            Maintenance,
            ParquetDestination,
            SnowflakeDestination,
            *get_args(Pushed),
            Cef,
            Stream,
            StreamTest,
            Limits,
            Route,
            Rollup,
            Window,
            Enrich,
            Lookup,
        )
        for field in msgspec.structs.fields(struct)
    ],
)
def test_a_setting_is_explained(of: type[msgspec.Struct], name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs/configuration.md").read_text(), f"{of.__name__}.{name}"


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_explained(step: str) -> None:
    assert f"| `{step}:" in (ROOT / "docs/configuration.md").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_a_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text()):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), target
