"""What every command has in common, and that none is undocumented."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from headrace.cli import app
from tests.cli.conftest import run

OPERATIONS = Path(__file__).parent.parent.parent / "docs" / "operations.md"


def commands() -> dict[str, typer.core.TyperCommand]:
    """Every command of the console script by its full name."""
    found = {}
    below = [("", typer.main.get_command(app))]
    while below:
        name, command = below.pop()
        children = getattr(command, "commands", {})
        below += [(f"{name} {child}".strip(), inner) for child, inner in children.items()]
        if not children:
            found[name] = command
    return found


def test_the_commands_of_the_contract_are_there() -> None:
    single = {"init", "up", "serve", "run", "send", "check", "schema", "doctor", "version"}
    single |= {"test", "explain", "preview", "tail", "stats", "replay"}
    single |= {"lake compact", "lake vacuum", "lake history", "lake widen"}
    single |= {"dlq list", "dlq show", "dlq replay", "dlq drop"}
    assert set(commands()) == single | {"token create", "token list", "token revoke"}


@pytest.mark.parametrize("name", sorted(commands()))
def test_a_command_explains_itself_with_an_example(name: str, tmp_path: Path) -> None:
    shown = run(*name.split(), "--help", cwd=tmp_path)
    assert shown.returncode == 0
    assert f"\n    headrace {name}" in shown.stdout.partition("Example:\n")[2].partition("\n\n")[0].join("\n\n")
    if name not in ("init", "schema", "version"):
        assert "-c, --config" in shown.stdout
        assert "HEADRACE_CONFIG" in shown.stdout


@pytest.mark.parametrize("name", sorted(commands()))
def test_a_command_and_its_options_stand_in_the_documentation(name: str) -> None:
    sections = OPERATIONS.read_text().split("\n### ")
    [section] = [text for text in sections if text.startswith(f"`headrace {name}")]
    general = sections[0]
    for option in commands()[name].params:
        for flag in option.opts:
            if flag.startswith("--") and flag != "--help":
                assert flag in section or flag in general, f"{flag} of headrace {name}"


def test_help_does_not_wait_for_the_engines(tmp_path: Path) -> None:
    probe = (
        "import sys, headrace.cli; print([m for m in ('duckdb', 'pyarrow', 'bytewax', 'flask') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [["nonsense"], ["up", "--port", "99999"], ["token", "create"], ["send"]])
def test_wrong_usage_exits_two(arguments: list[str], tmp_path: Path) -> None:
    assert run(*arguments, cwd=tmp_path).returncode == 2
