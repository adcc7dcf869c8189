"""The list of mechanisms is true to the code: each can still be taken out, and its test is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.breaking.mechanisms import MECHANISMS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", MECHANISMS)
def test_what_is_taken_out_is_there_once_and_its_test_exists(name: str) -> None:
    mechanism = MECHANISMS[name]
    for file, text, instead in mechanism.out:
        assert (ROOT / file).read_text().count(text) == 1, f"{file}: {text!r}"
        assert text != instead
    path, _, function = mechanism.test.partition("::")
    assert f"def {function}(" in (ROOT / path).read_text() if function else (ROOT / path).exists()


def test_the_readme_has_every_mechanism_and_no_other() -> None:
    readme = (ROOT / "tests" / "README.md").read_text()
    assert sorted(re.findall(r"python -m tests\.breaking ([a-z0-9-]+)`", readme)) == sorted(MECHANISMS)
