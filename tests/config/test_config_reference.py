"""The reference pages are what the code says, and every example in them is one that the loader takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from flows.config import check, render_text
from flows.config.reference import destinations, pages, prose_and_examples, shared
from flows.config.settings import LOGS, STEPS, StreamTest
from flows.rollups import Rollup
from flows.routes import Route

DOCS = Path(__file__).parents[2] / "docs"
DESTINATIONS = """
destinations:
  lake: {type: delta, uri: "./lake/{stream}"}
  siem: {type: delta, uri: "./siem/{stream}"}
"""  # what the examples of routes name
COMPONENTS = (*STEPS.values(), *destinations())
EXAMPLES = [
    pytest.param(example, id=f"{of.__name__}-{number}")
    for of in (*COMPONENTS, Route, Rollup, StreamTest)
    for number, example in enumerate(prose_and_examples(of)[1])
]


@pytest.mark.parametrize("page", pages())
def test_a_page_is_what_the_code_makes(page: str) -> None:
    assert (DOCS / page).read_text() == pages()[page], f"docs/{page} is stale: make docs"


@pytest.mark.parametrize("of", COMPONENTS)
def test_a_component_has_an_example_and_its_page_a_section(of: type[msgspec.Struct]) -> None:
    assert prose_and_examples(of)[1], f"the docstring of {of.__name__} has no example"
    name = str(of.__struct_config__.tag or of.__name__.lower())
    assert f"\n## {name}\n" in "".join(pages().values())


@pytest.mark.parametrize("of", COMPONENTS)
def test_a_docstring_or_the_page_of_the_configuration_explains_every_setting(of: type[msgspec.Struct]) -> None:
    prose = "".join(prose_and_examples(one)[0] for one in (of, *shared(of))) + (DOCS / "configuration.md").read_text()
    missing = [field.encode_name for field in msgspec.structs.fields(of) if not told(field.encode_name, prose)]
    assert missing == [], f"{of.__name__}'s docstring does not say what they do"


def told(name: str, prose: str) -> bool:
    return bool(re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", prose))


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_valid_as_it_stands(
    write: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: str
) -> None:
    for name in re.findall(r"\$\{(\w+)\}", example):
        monkeypatch.setenv(name, "0123456789abcdef0123456789abcdef")
    (tmp_path / "teams.csv").write_text("source,name\nshop,ada\n")
    text = example if "destinations:" in example else DESTINATIONS + example
    problems = [problem for problem in check(write(text)) if problem.severity == "error"]
    assert not problems, render_text(problems)


def test_an_example_without_a_place_is_told() -> None:
    class Found(msgspec.Struct):
        """Does a thing.

        steps: [{filter: event.a}]
        """

    class Lost(msgspec.Struct):
        """Does a thing.

            more: [of, it]

        And another.
        """

    assert prose_and_examples(Found)[1][0].endswith("    steps: [{filter: event.a}]\n")
    with pytest.raises(ValueError, match="must begin with the key"):
        prose_and_examples(Lost)


def test_the_settings_of_a_log_have_docstrings_too() -> None:
    for log in LOGS.values():
        assert prose_and_examples(log)[0]
