"""What must hold between the parts of a configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.config import Problem, load

ID = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"
OTHER_ID = "b1c3b4de-1923-4ff1-8dba-f92ad912d20f"
Problems = Callable[..., list[Problem]]

TWO = f"streams: {{web: {{id: {ID}}}, app: {{id: {OTHER_ID}}}}}"


def test_two_streams_cannot_land_in_one_table(problems: Problems) -> None:
    [problem] = problems(f"destinations: {{lake: {{type: delta, uri: s3://events/all}}}}\n{TWO}")
    assert problem.path == "destinations.lake.uri"
    assert "'web' and 'app' land in the same table" in problem.message
    assert "{stream}" in (problem.suggestion or "")


def test_one_stream_may_have_a_table_of_a_fixed_name(problems: Problems) -> None:
    assert (
        problems(f"destinations: {{lake: {{type: delta, uri: s3://events/all}}}}\nstreams: {{web: {{id: {ID}}}}}") == []
    )


def test_two_destinations_cannot_be_one_table(problems: Problems) -> None:
    [problem] = problems(f"""
        destinations:
          lake: {{type: delta, uri: "./lake/{{stream}}"}}
          copy: {{type: delta, uri: "./x/../lake/{{stream}}/"}}
        streams: {{web: {{id: {ID}, routes: [{{to: [lake, copy]}}]}}}}
    """)
    assert problem.path == "destinations.copy.uri"
    assert problem.severity == "error"


def test_a_table_cannot_lie_inside_another(problems: Problems) -> None:
    [problem] = problems(f"""
        destinations:
          lake: {{type: delta, uri: "./lake"}}
          copy: {{type: delta, uri: "./lake/{{stream}}"}}
        streams: {{web: {{id: {ID}, routes: [{{to: [lake, copy]}}]}}}}
    """)
    assert "lies inside" in problem.message


def test_parquet_files_cannot_lie_in_a_table(problems: Problems) -> None:
    [problem] = problems(f"""
        destinations:
          lake:  {{type: delta, uri: "./lake/{{stream}}"}}
          files: {{type: parquet, uri: "./lake/{{stream}}"}}
        streams: {{web: {{id: {ID}, routes: [{{to: [lake, files]}}]}}}}
    """)
    assert problem.path == "destinations.files.uri"
    assert "that of destination 'lake'" in problem.message


def test_what_parquet_files_cannot_be_told_is_named(problems: Problems) -> None:
    found = problems(f"""
        destinations:
          lake: {{type: parquet, uri: "gs://b/{{stream}}", roll_age: 0s, roll_rows: 0, commit_interval: 1s}}
        streams: {{web: {{id: {ID}}}}}
    """)
    assert {problem.path.rpartition(".")[2] for problem in found} == {"uri", "roll_age", "roll_rows", "commit_interval"}


def test_an_id_belongs_to_one_stream(problems: Problems) -> None:
    [problem] = problems(f"streams:\n  web: {{id: {ID}}}\n  app: {{id: {ID.upper()}}}\n")
    assert "stream 'web' has this id too" in problem.message
    assert (problem.line, problem.column) == (3, 13)


@pytest.mark.parametrize("section", ["streams", "destinations"])
def test_names_that_differ_only_in_case_are_refused(problems: Problems, section: str) -> None:
    text = {
        "streams": f"streams: {{web: {{id: {ID}}}, WEB: {{id: {OTHER_ID}}}}}",
        "destinations": f"""
            destinations: {{lake: {{type: delta, uri: ./a}}, Lake: {{type: delta, uri: ./b}}}}
            streams: {{web: {{id: {ID}}}}}
        """,
    }[section]
    [problem] = problems(text)
    assert "differ only in case" in problem.message


def test_without_routes_and_without_a_lake_an_event_has_nowhere_to_go(problems: Problems) -> None:
    [problem] = problems(f"destinations: {{out: {{type: delta, uri: './{{stream}}'}}}}\nstreams: {{web: {{id: {ID}}}}}")
    assert problem.severity == "error"
    assert "no destination 'lake'" in problem.message
    assert "{to: [out]}" in (problem.suggestion or "")


def test_routes_without_a_catch_all_and_without_a_lake_give_a_warning(problems: Problems) -> None:
    [problem] = problems(f"""
        destinations: {{out: {{type: delta, uri: './{{stream}}'}}}}
        streams: {{web: {{id: {ID}, routes: [{{when: event.a = 1, to: [out]}}]}}}}
    """)
    assert problem.severity == "warning"
    assert "goes nowhere" in problem.message


def test_a_route_after_the_catch_all_gives_a_warning(problems: Problems) -> None:
    [problem] = problems(f"streams: {{web: {{id: {ID}, routes: [{{to: [lake]}}, {{when: event.a, to: [lake]}}]}}}}")
    assert (problem.severity, problem.path) == ("warning", "streams.web.routes[1]")


def test_a_catch_all_that_goes_on_hides_nothing(problems: Problems) -> None:
    text = f"""
        streams: {{web: {{id: {ID}, routes: [{{to: [lake], also: true}}, {{when: event.a, to: [lake]}}]}}}}
    """
    assert problems(text) == []


def test_a_warning_does_not_keep_the_configuration_from_being_used(write: Callable[[str], Path]) -> None:
    text = f"""
        destinations: {{lake: {{type: delta, uri: './{{stream}}', region: eu-west-1}}}}
        streams: {{web: {{id: {ID}}}}}
    """
    assert load(write(text)).destinations["lake"].storage_options() == {}


def test_an_access_key_needs_its_secret(problems: Problems) -> None:
    found = problems(f"""
        destinations: {{lake: {{type: delta, uri: "s3://events/{{stream}}", access_key_id: AK}}}}
        streams: {{web: {{id: {ID}}}}}
    """)
    assert [problem.message for problem in found] == ["there is no secret_access_key to go with it"]


def test_a_broken_destination_is_not_told_again_by_the_routes_that_name_it(problems: Problems) -> None:
    [problem] = problems(f"""
        destinations: {{lake: {{type: nothing, uri: "./{{stream}}"}}}}
        streams: {{web: {{id: {ID}, routes: [{{to: [lake]}}]}}}}
    """)
    assert problem.path == "destinations.lake.type"


@pytest.mark.parametrize("topic", ["events of today", "events.{source}", "x" * 240 + ".{stream}", "ä"])
def test_a_topic_that_kafka_would_not_take_is_named(problems: Problems, topic: str) -> None:
    [problem] = problems(
        f"log: {{kafka: {{bootstrap_servers: 'k:9092', topic: '{topic}'}}}}\nstreams: {{web: {{id: {ID}}}}}"
    )
    assert problem.path == "log.kafka.topic"
    assert "cannot be the name of a Kafka topic" in problem.message


def test_a_star_in_a_drop_or_a_set_is_refused_as_it_would_name_nothing(problems: Problems) -> None:
    found = problems(f"""
        streams:
          web:
            id: {ID}
            steps:
              - drop: [event.debug.*]
              - set: {{event.*: "1"}}
    """)
    assert [(problem.path, problem.message) for problem in found] == [
        ("streams.web.steps[0].drop[0]", "'*' stands for all names only in a mask, not in a drop"),
        ('streams.web.steps[1].set.event."*"', "'*' stands for all names only in a mask, not in a set"),
    ]
    assert "event.debug" in (found[0].suggestion or "")
