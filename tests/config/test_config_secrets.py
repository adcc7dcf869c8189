"""Secrets are named, never held, and never shown."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.log.settings import KafkaLogSettings
from connectors.sinks.settings import DeltaDestination
from flows.config import Config, Problem, config_version, load, render_text

ID = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"
HIDDEN = "hunter2-hunter2"
Problems = Callable[..., list[Problem]]
Write = Callable[[str], Path]

S3 = f"""
    destinations:
      lake:
        type: delta
        uri: "s3://${{BUCKET:-events}}/{{stream}}"
        endpoint: http://localhost:9000
        access_key_id: AK
        secret_access_key: ${{LAKE_SECRET}}
    log:
      kafka:
        bootstrap_servers: [a:1, b:2]
        options: {{security_protocol: SASL_SSL, sasl_plain_password: "${{LAKE_SECRET}}", retries: 5, api: null}}
    streams: {{web: {{id: {ID}}}}}
"""


def read(write: Write, **environment: str) -> Config:
    return load(write(S3), environment)


def test_a_reference_is_replaced_by_the_environment_s_value(write: Write) -> None:
    config = read(write, LAKE_SECRET=HIDDEN)
    lake = config.destinations["lake"]
    assert isinstance(lake, DeltaDestination)
    assert lake.uri == "s3://events/{stream}"
    assert lake.storage_options() == {
        "AWS_ENDPOINT_URL": "http://localhost:9000",
        "AWS_ACCESS_KEY_ID": "AK",
        "AWS_SECRET_ACCESS_KEY": HIDDEN,
        "AWS_ALLOW_HTTP": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
    }
    assert isinstance(config.log, KafkaLogSettings)
    assert config.log.bootstrap_servers == ["a:1", "b:2"]
    assert config.log.options["sasl_plain_password"] == HIDDEN
    assert config.log.options["retries"] == 5


def test_a_default_stands_in_for_a_variable_that_is_not_set(write: Write) -> None:
    assert read(write, LAKE_SECRET="x", BUCKET="other").destinations["lake"].uri == "s3://other/{stream}"


def test_a_secret_is_not_in_the_repr_of_anything(write: Write) -> None:
    config = read(write, LAKE_SECRET=HIDDEN)
    assert HIDDEN not in repr(config)
    assert HIDDEN not in repr(config.destinations["lake"].storage_options())
    assert HIDDEN not in repr(pickle.loads(pickle.dumps(config.destinations["lake"].storage_options())))


def test_a_variable_that_is_not_set_is_a_problem_each_time(problems: Problems) -> None:
    found = problems(S3)
    assert [problem.message for problem in found] == ["the environment variable LAKE_SECRET is not set"] * 2


def test_a_malformed_reference_is_a_problem(problems: Problems) -> None:
    [problem] = problems(f"data: './${{not a name}}'\nstreams: {{web: {{id: {ID}}}}}")
    assert "names no environment variable" in problem.message


def test_two_dollars_are_a_literal_one(write: Write) -> None:
    config = load(write(f"data: './$${{x}}'\nstreams: {{web: {{id: {ID}}}}}"), {})
    assert config.data.name == "${x}"


def test_a_secret_in_the_file_itself_is_a_warning_that_does_not_show_it(problems: Problems) -> None:
    found = problems(f"""
        log: {{kafka: {{bootstrap_servers: x, options: {{ssl_password: {HIDDEN}}}}}}}
        destinations:
          lake: {{type: delta, uri: "s3://events/{{stream}}", access_key_id: A, secret_access_key: {HIDDEN}}}
        streams: {{web: {{id: {ID}}}}}
    """)
    assert [problem.severity for problem in found] == ["warning", "warning"]
    assert HIDDEN not in render_text(found)


def test_no_problem_shows_what_came_from_the_environment(problems: Problems) -> None:
    text = f"""
        data: 5
        log: {{kafka: {{bootstrap_servers: x, partitions: "${{S}}", compression: "${{S}}", ack_timeout: "${{S}}"}}}}
        destinations:
          lake: {{type: "${{S}}"}}
          out: {{type: delta, uri: "s3://{{x}}/${{S}}", commit_interval: "${{S}}"}}
        streams:
          web:
            id: ${{S}}
            limits: {{bytes_per_second: "${{S}}"}}
            schema: ${{S}}
            types: {{event.a: "${{S}}"}}
            steps: [{{filter: "${{S}}"}}, {{drop: ["${{S}}"]}}, {{set: {{event.a: "'${{S}}' + nope"}}}}]
            routes: [{{to: ["${{S}}"]}}]
          "${{S}}": {{id: {ID}}}
    """
    found = problems(text, S=f"{HIDDEN} /")
    assert len(found) >= 12
    assert HIDDEN not in render_text(found)


@pytest.mark.parametrize("value", ["hunter2x", "event.a hunter2x", "hunter2x()"])
def test_what_is_wrong_with_an_expression_is_said_without_what_was_put_into_it(problems: Problems, value: str) -> None:
    found = problems(f"streams: {{web: {{id: {ID}, steps: [{{filter: 'event.b = ${{S}}'}}]}}}}", S=value)
    assert found != []
    assert "hunter2x" not in render_text(found)


def test_the_version_of_a_configuration_does_not_depend_on_secrets(write: Write) -> None:
    assert config_version(read(write, LAKE_SECRET="one")) == config_version(read(write, LAKE_SECRET="two"))


def test_numbers_and_durations_can_come_from_the_environment(write: Write) -> None:
    text = f"streams: {{web: {{id: {ID}, dedupe_window: '${{W}}', limits: {{requests_per_second: '${{R}}'}}}}}}"
    stream = load(write(text), {"W": "5m", "R": "12"}).streams["web"]
    assert stream.dedupe_window.total_seconds() == 300
    assert stream.limits.requests_per_second == 12
