"""Names made from templates: what an event says never leads out of the operator's text."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sinks.name_templates import LONGEST, complaint
from connectors.sinks.names import NameTemplate, part_of_name
from tests.sinks.sending import rows_of

NASTY = [
    "",
    ".",
    "..",
    "../../etc",
    "a/../b",
    "/",
    "\\",
    "*",
    "a,b",
    "-x",
    "_all",
    ".security",
    "A B",
    "\x00",
    "é" * 500,
]


def named(template: str, *values: Any, letters: Any = "lower") -> list[str]:
    rows = rows_of(
        [{"source": "S/1", "timestamp": "2025-02-12T23:59:59Z", "event": {"app": value}} for value in values]
    )
    return list(NameTemplate(template, letters).of("Pay", rows).to_pylist())


@pytest.mark.parametrize("letters", ["lower", "any"])
@given(value=st.one_of(st.text(), st.sampled_from(NASTY)))
def test_an_event_cannot_lead_a_name_out_of_its_template(letters: Any, value: str) -> None:
    rows = pa.table({"source": [value]})
    [name] = NameTemplate("logs-{source}-x", letters).of("s", rows).to_pylist()
    assert name.startswith("logs-")
    assert re.fullmatch("[a-z0-9._-]+" if letters == "lower" else "[A-Za-z0-9._-]+", name)
    assert ".." not in name
    assert len(name) <= LONGEST


@given(value=st.text(alphabet="abcXYZ09_-", min_size=1, max_size=80))
def test_a_plain_value_stands_as_it_is(value: str) -> None:
    assert part_of_name(value, "any") == value
    assert part_of_name(value, "lower") == value.lower()


def test_fields_stand_in_their_places() -> None:
    assert named("logs-{stream}-{event.app}-{source}-{date}", "Web") == ["logs-pay-web-s_1-2025-02-12"]
    assert named("logs.{event.app}", "Web", letters="any") == ["logs.Web"]
    assert named("logs-{stream}", 1, 2) == ["logs-pay"] * 2


def test_a_field_that_an_event_has_not_has_a_name_too() -> None:
    assert named("logs-{event.app}", None, "x", 7) == ["logs-none", "logs-x", "logs-7"]
    assert named("logs-{metadata.team}-{event.a.b}", "x") == ["logs-none-none"]
    assert named("logs-{event.app}", {"a": 1}) == ["logs-none"]


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("{event.app}", "events could choose any name"),
        ("{source}-logs", "events could choose any name"),
        ("", "events could choose any name"),
        ("logs-{app}", "stands for nothing"),
        ("logs-{event}", "stands for nothing"),
        ("logs-{event.a", "without its partner"),
        ("logs/{stream}", "only the characters"),
        ("Logs-{stream}", "only the characters"),
        (".logs-{stream}", "begins with a letter"),
        ("x" * 150, "too long"),
    ],
)
def test_a_template_that_cannot_be_used_is_told(template: str, what: str) -> None:
    assert what in str(complaint(template, "lower"))
    with pytest.raises(ValueError, match=re.escape(what)):
        NameTemplate(template, "lower")


@pytest.mark.parametrize("template", ["{stream}", "logs-{stream}", 'x-{event."a b".c}', "x-{date}", "clean.{stream}"])
def test_a_template_that_can_be_used_has_no_complaint(template: str) -> None:
    assert complaint(template, "lower") is None
