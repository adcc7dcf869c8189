"""The JSON Schema that editors use agrees with what the loader takes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from connectors.errors import HeadraceError
from flows.config import check, json_schema
from flows.config.settings import LOGS, STEPS
from tests.cli.conftest import run
from tests.config.test_config_load import CONTRACT
from tests.test_docs import blocks

ID = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"


def valid(text: str) -> bool:
    return bool(jsonschema.Draft7Validator(json_schema()).is_valid(yaml.safe_load(text)))


def test_the_schema_is_a_schema_that_json_can_carry() -> None:
    schema = json.loads(json.dumps(json_schema()))
    jsonschema.Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"


GOOD = [
    CONTRACT,
    f"streams: {{web: {{id: {ID}}}}}",
    f"log:\ndestinations:\nstreams: {{web: {{id: {ID}, steps: , routes: , types: }}}}",
    f"log: {{embedded: }}\nstreams: {{web: {{id: {ID}, dedupe_window: 1h30m}}}}",
    f"streams: {{web: {{id: {ID}, steps: [{{set: {{event.a: 5, event.b: true, event.c: round(event.d, 1)}}}}]}}}}",
    f"streams: {{web: {{id: {ID}, routes: [{{when: event.a IN (1, 2), to: [lake]}}]}}}}",
    f"streams: {{web: {{id: {ID}, limits: {{bytes_per_second: 1GiB, requests_per_second: '${{RPS:-5}}'}}}}}}",
    f"destinations: {{lake: {{type: delta, uri: './x', commit_interval: 500ms}}}}\nstreams: {{web: {{id: {ID}}}}}",
]

BAD = [
    "data: ./x",
    "streams: []",
    "streams: {web: {}}",
    f"streams: {{a/b: {{id: {ID}}}}}",
    f"streams: {{web: {{id: {ID}, colour: blue}}}}",
    f"streams: {{web: {{id: {ID}, schema: evolv}}}}",
    f"streams: {{web: {{id: {ID}, steps: [{{window: {{}}}}]}}}}",
    f"streams: {{web: {{id: {ID}, steps: [{{filter: event.a, drop: [event.b]}}]}}}}",
    f"streams: {{web: {{id: {ID}, routes: [{{when: event.a}}]}}}}",
    f"streams: {{web: {{id: {ID}, dedupe_window: 10}}}}",
    f"streams: {{web: {{id: {ID}, limits: {{bytes_per_second: 0}}}}}}",
    f"log: {{redis: {{}}}}\nstreams: {{web: {{id: {ID}}}}}",
    f"log: {{kafka: {{}}}}\nstreams: {{web: {{id: {ID}}}}}",
    f"destinations: {{lake: {{type: detla, uri: x}}}}\nstreams: {{web: {{id: {ID}}}}}",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_the_loader_takes_the_schema_takes(write: Callable[[str], Path], text: str) -> None:
    assert [problem for problem in check(write(text)) if problem.severity == "error"] == []
    jsonschema.Draft7Validator(json_schema()).validate(yaml.safe_load(text))


@pytest.mark.parametrize("text", BAD)
def test_what_the_schema_refuses_the_loader_refuses(write: Callable[[str], Path], text: str) -> None:
    assert [problem for problem in check(write(text)) if problem.severity == "error"] != []
    assert not valid(text)


def test_every_step_and_every_log_is_in_the_schema() -> None:
    text = json.dumps(json_schema())
    for name in (*STEPS, *LOGS, "delta"):
        assert f'"{name}"' in text


EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = [pytest.param(file.read_text(), id=f"{file.parent.name}/{file.name}") for file in EXAMPLES.rglob("*.yaml")]


def test_what_the_command_prints_is_a_schema_of_the_draft_that_it_names(tmp_path: Path) -> None:
    printed = run("schema", cwd=tmp_path)
    assert printed.returncode == 0
    schema = json.loads(printed.stdout)
    validator = jsonschema.validators.validator_for(schema, default=None)
    assert validator is jsonschema.Draft7Validator
    validator.check_schema(schema)
    assert schema == json_schema()


@pytest.mark.parametrize("text", FILES)
def test_the_examples_are_valid(text: str) -> None:
    jsonschema.Draft7Validator(json_schema()).validate(yaml.safe_load(text))


@pytest.mark.parametrize(("_", "text"), blocks("yaml"))
def test_what_the_documentation_shows_is_valid(_: str, text: str) -> None:
    jsonschema.Draft7Validator(json_schema()).validate(yaml.safe_load(text))


def misspelt(value: Any) -> Iterator[tuple[str, Any]]:
    """(the key, the document) with each key of a mapping misspelt in turn."""
    if isinstance(value, list):
        for place, item in enumerate(value):
            for key, wrong in misspelt(item):
                yield key, [*value[:place], wrong, *value[place + 1 :]]
    if isinstance(value, dict):
        for key in value:
            yield str(key), {f"{name}zz" if name == key else name: item for name, item in value.items()}
            for below, wrong in misspelt(value[key]):
                yield below, copy.copy(value) | {key: wrong}


@pytest.mark.parametrize("text", [*FILES, pytest.param(CONTRACT, id="contract")])
def test_a_key_that_the_loader_does_not_know_the_schema_does_not_know(
    text: str, write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each valid file, with each of its keys misspelt: an editor marks what `check` refuses for an unknown key."""
    validator = jsonschema.Draft7Validator(json_schema())
    refused = 0
    for key, wrong in misspelt(yaml.safe_load(text)):
        try:
            problems = check(write(json.dumps(wrong)))
        except HeadraceError as exc:
            pytest.fail(str(exc))
        if any(f"unknown key '{key}zz'" in problem.message for problem in problems):
            refused += 1
            assert not validator.is_valid(wrong), f"the schema takes {key}zz"
    assert refused > 3
