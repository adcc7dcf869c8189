"""Products' logs by the names that Logstash's users know, in both conventions of the captures.

The lines are made up after the formats' own documentation.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import regex
import yaml

from flows.expression.syntax import run
from flows.steps import Parse
from flows.steps.parse.functions import compiled
from flows.steps.parse.grok import expand
from flows.steps.parse.library import ECS, LEGACY
from flows.steps.parse.readings import expression_of

CASES = yaml.safe_load(Path(__file__).with_name("grok_library.yaml").read_text())


def found(name: str, line: str, ecs: str) -> dict[str, str]:
    """What a pattern captures, the same by both engines where both can run it."""
    expression = expression_of(Parse(field="event.m", as_="grok", pattern=f"%{{{name}}}", ecs_compatibility=ecs))  # type: ignore[arg-type] # one of two
    captures = expression.expanded.captures
    match = compiled(expression.exact).search(line)
    assert match is not None, (name, ecs)
    groups = [match[f"g{n}"] or "" for n in range(len(captures))]
    if expression.slow is None:
        names = [f"g{n}" for n in range(len(captures))]
        query = f"SELECT unnest(regexp_extract($1, $2, {['m', *names]}))"
        assert groups == list(run(query, line, expression.re2)[0][1:])
    values: dict[str, str] = {}
    for capture, group in zip(captures, groups, strict=True):
        if group:
            values.setdefault(".".join(capture.path), group)
    return values


@pytest.mark.parametrize("ecs", ["disabled", "v1"])
def test_a_product_s_line_has_the_captures_of_the_convention(ecs: str) -> None:
    for case in CASES:
        wanted = case["ecs" if ecs == "v1" else "legacy"]
        values = found(case["pattern"], case["line"], ecs)
        assert {key: values.get(key) for key in wanted} == wanted, case["pattern"]


def test_every_pattern_of_the_library_can_be_written_out_in_both_conventions() -> None:
    tried = {case["pattern"] for case in CASES}
    for ecs, library in ((False, LEGACY), (True, ECS)):
        used = {name for text in library.values() for name in re.findall(r"%\{(\w+)", text)}
        for name in library:
            text = expand(f"%{{{name}:whole}}", {}, ecs=ecs).text
            if name not in used | tried:
                regex.compile(text, regex.ASCII)


def test_both_conventions_know_the_same_products() -> None:
    assert {name for name in LEGACY if name not in ECS} == set()
