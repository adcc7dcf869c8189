"""What a correct headrace.yaml means."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from connectors.errors import ConfigError
from connectors.log.settings import EmbeddedLogSettings, KafkaLogSettings
from flows.config import Config, check, config_version, load
from flows.routes import Route
from flows.steps import Drop, Filter, Set

ID = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"
Write = Callable[[str], Path]

CONTRACT = """
    log:                                   # omitted: embedded, in ./data/log
      kafka: {bootstrap_servers: "localhost:9092", topic: headrace.events, partitions: 12}
    data: ./data                           # state, embedded log, default lake

    destinations:
      lake:   {type: delta, uri: "s3://events/{stream}", partition_by: [date]}     # or a path

    streams:
      payments:
        id: a0c3b4de-1923-4ff1-8dba-f92ad912d20f
        limits: {requests_per_second: 2000, bytes_per_second: 50MB}
        schema: evolve                     # evolve (default) | rescue | reject
        types: {event.amount: DECIMAL(18,2)}            # optional; everything else is inferred
        steps:                             # run in the order written
          - filter: event.status IS DISTINCT FROM 'healthcheck'          # keeps what is true
          - set:    {event.amount_usd: event.amount * 1.08, event.region: "coalesce(metadata.region, 'eu')"}
          - drop:   [event.debug, metadata.trace]
        routes:
          - {when: event.velocity.txns > 10, to: [lake], also: true}
          - {when: source = 'audit', to: [lake]}
          - {to: [lake]}
"""


def test_the_contract_s_example_means_what_it_says(write: Write, tmp_path: Path) -> None:
    config = load(write(CONTRACT))
    assert config.log == KafkaLogSettings(bootstrap_servers="localhost:9092", topic="headrace.events", partitions=12)
    assert config.data == tmp_path / "data"
    assert config.destinations["lake"].table_uri("payments") == "s3://events/payments"
    assert config.destinations["lake"].interval == timedelta(seconds=10)
    stream = config.streams["payments"]
    assert stream.id == ID
    assert stream.limits.requests_per_second == 2000
    assert stream.limits.bytes_per_second == 50_000_000
    assert stream.types == {"event.amount": "DECIMAL(18,2)"}
    assert stream.steps == (
        Filter("event.status IS DISTINCT FROM 'healthcheck'"),
        Set({"event.amount_usd": "event.amount * 1.08", "event.region": "coalesce(metadata.region, 'eu')"}),
        Drop(("event.debug", "metadata.trace")),
    )
    assert stream.routes == (
        Route(to=("lake",), when="event.velocity.txns > 10", also=True),
        Route(to=("lake",), when="source = 'audit'"),
        Route(to=("lake",)),
    )


def test_a_stream_needs_only_its_id(write: Write, tmp_path: Path) -> None:
    config = load(write(f"streams: {{web: {{id: {ID}}}}}"))
    assert config.log == EmbeddedLogSettings(path=tmp_path / "data/log")
    assert list(config.destinations) == ["lake"]
    assert config.destinations["lake"].table_uri("web") == str(tmp_path / "data/lake/web")
    assert config.destinations["lake"].interval == timedelta(seconds=1)
    assert config.streams["web"].dedupe_window == timedelta(hours=1)
    assert config.streams["web"].schema == "evolve"
    assert config.file == tmp_path / "headrace.yaml"


def test_relative_paths_are_relative_to_the_file(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    text = f"""
        data: state
        destinations: {{lake: {{type: delta, uri: "lake/{{stream}}"}}}}
        streams: {{web: {{id: {ID}}}}}
    """
    config = load(write(text))
    assert config.data == tmp_path / "state"
    assert config.log == EmbeddedLogSettings(path=tmp_path / "state/log")
    assert config.destinations["lake"].table_uri("web") == str(tmp_path / "lake/web")


def test_the_embedded_log_can_lie_elsewhere(write: Write, tmp_path: Path) -> None:
    log = "log: {embedded: {path: ./elsewhere, partitions: 8, retention_bytes: 5GB}}"
    config = load(write(f"{log}\nstreams: {{web: {{id: {ID}}}}}"))
    assert config.log == EmbeddedLogSettings(path=tmp_path / "elsewhere", partitions=8, retention_bytes=5_000_000_000)


@pytest.mark.parametrize("log", ["log:", "log: {embedded: }", "log: {embedded: {}}"])
def test_an_empty_log_section_is_the_embedded_log(write: Write, tmp_path: Path, log: str) -> None:
    assert load(write(f"{log}\nstreams: {{web: {{id: {ID}}}}}")).log == EmbeddedLogSettings(path=tmp_path / "data/log")


def test_sections_whose_entries_are_commented_out_are_empty(write: Write) -> None:
    text = f"""
        destinations:
          # lake: …
        streams:
          web:
            id: {ID}
            steps:
              # - filter: …
            routes:
    """
    assert load(write(text)).streams["web"].steps == ()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", 1_048_576),
        ("50MB", 50_000_000),
        ("1GiB", 2**30),
        ("1.5kB", 1500),
        ("2 MiB", 2**21),
        ('"10K"', 10_000),
    ],
)
def test_sizes_are_written_with_their_units(write: Write, text: str, size: int) -> None:
    config = load(write(f"streams: {{web: {{id: {ID}, limits: {{bytes_per_second: {text}}}}}}}"))
    assert config.streams["web"].limits.bytes_per_second == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10), ("5m", 300), ("1h", 3600), ("7d", 604_800), ("1h30m", 5400), ("0", 0)],
)
def test_durations_are_written_with_their_units(write: Write, text: str, seconds: float) -> None:
    config = load(write(f"streams: {{web: {{id: {ID}, dedupe_window: {text}}}}}"))
    assert config.streams["web"].dedupe_window == timedelta(seconds=seconds)


def test_words_that_yaml_1_1_takes_for_booleans_are_names_and_texts(write: Write) -> None:
    config = load(write(f"streams: {{on: {{id: {ID}, steps: [{{set: {{event.no: event.yes, event.x: true}}}}]}}}}"))
    assert config.streams["on"].steps == (Set({"event.no": "event.yes", "event.x": "true"}),)


def test_a_set_takes_plain_numbers_booleans_and_null_as_sql(write: Write) -> None:
    config = load(
        write(f"streams: {{web: {{id: {ID}, steps: [{{set: {{event.a: 5, event.b: -1.50, event.c: ~}}}}]}}}}")
    )
    assert config.streams["web"].steps == (Set({"event.a": "5", "event.b": "-1.50", "event.c": "NULL"}),)


def test_commas_inside_parentheses_belong_to_the_value(write: Write) -> None:
    text = f"""
        streams:
          web:
            id: {ID}
            types: {{event.a: DECIMAL(18,2), event.b: DECIMAL(10, 4), event.c: BIGINT}}
            steps:
              - set: {{event.r: round(event.a, 1), event.s: coalesce(event.b, 'x', 0)}}
            routes:
              - {{when: event.c IN (1, 2, 3), to: [lake]}}
    """
    stream = load(write(text)).streams["web"]
    assert stream.types == {"event.a": "DECIMAL(18,2)", "event.b": "DECIMAL(10,4)", "event.c": "BIGINT"}
    assert stream.steps == (Set({"event.r": "round(event.a, 1)", "event.s": "coalesce(event.b, 'x', 0)"}),)
    assert stream.routes == (Route(when="event.c IN (1, 2, 3)", to=("lake",)),)


def test_the_type_of_a_struct_is_the_types_of_its_fields(write: Write) -> None:
    text = f"""
        streams:
          web:
            id: {ID}
            types: {{event.geo: "STRUCT(lat DOUBLE, seen TIMESTAMP)", event.tags: "text[]"}}
    """
    assert load(write(text)).streams["web"].types == {
        "event.geo.lat": "DOUBLE",
        "event.geo.seen": "TIMESTAMP WITH TIME ZONE",
        "event.tags": "VARCHAR[]",
    }


def test_anchors_and_merge_keys_work(write: Write) -> None:
    text = f"""
        streams:
          web: &base
            id: {ID}
            limits: &limits {{requests_per_second: 5}}
            schema: rescue
          app:
            <<: *base
            id: b1c3b4de-1923-4ff1-8dba-f92ad912d20f
            limits: *limits
    """
    config = load(write(text))
    assert config.streams["app"].id == "b1c3b4de-1923-4ff1-8dba-f92ad912d20f"
    assert config.streams["app"].schema == "rescue"
    assert config.streams["app"].limits.requests_per_second == 5


def test_a_configuration_that_is_not_there_names_the_way_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="headrace init"):
        load(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="directory"):
        check(tmp_path)


def test_the_version_follows_the_meaning_and_not_the_layout(write: Write, tmp_path: Path) -> None:
    def version(text: str, **environment: str) -> str:
        return config_version(load(write(text), environment))

    plain = version(f"streams: {{web: {{id: {ID}}}}}")
    assert version(f"# a comment\ndata: ./data\nstreams:\n  web:\n    id: {ID.upper()}\n") == plain
    assert version(f"streams: {{web: {{id: {ID}, schema: reject}}}}") != plain
    there = tmp_path / "there"
    there.mkdir()
    (there / "headrace.yaml").write_text(f"streams: {{web: {{id: {ID}}}}}")
    assert config_version(load(there / "headrace.yaml")) == plain


def test_equal_configurations_are_equal(write: Write) -> None:
    def read(text: str) -> Config:
        return load(write(text))

    assert read(CONTRACT) == read(CONTRACT)
    assert read(CONTRACT) != read(CONTRACT.replace("2000", "2001"))
