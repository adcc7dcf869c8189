"""The JSON Schema that editors use agrees with what the loader takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml

from flows.config import check, json_schema
from flows.config.settings import LOGS, STEPS
from tests.config.test_config_load import CONTRACT

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
