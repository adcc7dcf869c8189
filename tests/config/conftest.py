"""Tests of the configuration start from the YAML that a user writes."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.config import Problem, check

ID = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"
OTHER_ID = "b1c3b4de-1923-4ff1-8dba-f92ad912d20f"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a headrace.yaml."""

    def write(text: str) -> Path:
        path = tmp_path / "headrace.yaml"
        path.write_text(textwrap.dedent(text))
        return path

    return write


@pytest.fixture
def problems(write: Callable[[str], Path]) -> Callable[..., list[Problem]]:
    """Writes a headrace.yaml and checks it."""

    def problems(text: str, **environment: str) -> list[Problem]:
        return check(write(text), environment)

    return problems
