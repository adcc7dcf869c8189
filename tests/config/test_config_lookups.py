"""`lookups` and `enrich` as a user writes them, and every mistake in them told where it stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.errors import ConfigError
from flows.config import Problem, config_version, load
from flows.lookups.settings import Lookup
from flows.steps import Enrich
from tests.lookups.files import NETWORKS, write_mmdb

ID = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"
Problems = Callable[..., list[Problem]]
Write = Callable[[str], Path]

CONTRACT = f"""
lookups:
  teams: {{file: teams.csv, key: source}}
streams:
  web:
    id: {ID}
    steps:
      - enrich: {{lookup: teams, on: source, into: event.team}}
"""


@pytest.fixture(autouse=True)
def _teams(tmp_path: Path) -> None:
    (tmp_path / "teams.csv").write_text("source,name,size\npay,Payments,5\n")


def enrich(settings: str, lookups: str = "teams: {file: teams.csv, key: source}") -> str:
    return f"lookups: {{{lookups}}}\nstreams: {{web: {{id: {ID}, steps: [{{enrich: {{{settings}}}}}]}}}}"


def test_the_contracts_example_means_what_it_says(write: Write, tmp_path: Path) -> None:
    stream = load(write(CONTRACT)).streams["web"]
    assert stream.steps == (Enrich(lookup="teams", on="source", into="event.team"),)
    assert stream.lookups == {"teams": Lookup(file=tmp_path / "teams.csv", key="source")}


def test_all_of_it_is_valid(problems: Problems, tmp_path: Path) -> None:
    write_mmdb(tmp_path / "geo.mmdb", NETWORKS)
    text = f"""
        lookups: {{teams: {{file: ./teams.csv, key: source}}, geo: {{file: geo.mmdb}}}}
        streams:
          web:
            id: {ID}
            lookups: {{teams: {{file: teams.csv, key: name}}}}
            steps:
              - enrich:
                  lookup: teams
                  on: lower(event.who)
                  into: metadata.team
                  fields: [size, source]
                  default: {{size: 0, source: "?"}}
              - enrich: {{lookup: geo, on: event.ip, into: event, fields: [country.iso_code], default: {{country.iso_code: x}}}}
    """
    assert [problem.message for problem in problems(text)] == ["no enrich step names it"]  # the file's own `teams`


def test_a_streams_own_lookup_is_taken_before_the_files(write: Write, tmp_path: Path) -> None:
    own = f"id: {ID}\n    lookups: {{teams: {{file: teams.csv, key: name}}}}"
    stream = load(write(CONTRACT.replace(f"id: {ID}", own))).streams["web"]
    assert stream.lookups["teams"].key == "name"


def test_another_file_is_another_configuration(write: Write) -> None:
    one = config_version(load(write(CONTRACT)))
    assert config_version(load(write(CONTRACT.replace("key: source", "key: name")))) != one


@pytest.mark.parametrize(
    ("settings", "path", "said", "suggestion"),
    [
        ("lookup: team, on: source, into: event.t", "lookup", "unknown lookup 'team'", "did you mean 'teams'?"),
        ("lookup: teams, on: sauce, into: event.t", "on", "'sauce' is no field", "did you mean 'source'?"),
        ("lookup: teams, on: source", "", "missing: 'into'", ""),
        ("lookup: teams, on: source, into: source", "into", "can hold no fields", "event or metadata"),
        ("lookup: teams, on: source, into: evnt.t", "into", "no field of an event", "event.t"),
        ("lookup: teams, on: source, into: event.t, fields: [nam]", "fields[0]", "no column 'nam'", "'name'"),
        ("lookup: teams, on: source, into: event.t, default: {siz: 1}", "default.siz", "no column 'siz'", "'size'"),
        (
            "lookup: teams, on: source, into: event.t, fields: [name], default: {size: 1}",
            "default.size",
            "is none of `fields`",
            "known: name",
        ),
        ("lookup: teams, on: source, into: event.t, default: {size: [1]}", "default.size", "expected a text", ""),
        ("lookup: teams, on: source, into: event.t, on_miss: drop", "on_miss", "unknown key 'on_miss'", ""),
    ],
)
def test_a_mistake_in_a_step_is_told_at_its_place(
    settings: str, path: str, said: str, suggestion: str, problems: Problems
) -> None:
    found = [problem for problem in problems(enrich(settings)) if problem.severity == "error"]
    at = "streams.web.steps[0].enrich" + (f".{path}" if path else "")
    assert [(problem.path, problem.line) for problem in found] == [(at, 2)]
    assert said in found[0].message
    assert suggestion in (found[0].suggestion or "")


@pytest.mark.parametrize(
    ("settings", "path", "said", "suggestion"),
    [
        ("file: team.csv, key: source", "file", "there is no such file", "relative"),
        ("file: ., key: source", "file", "does not tell its format", ".csv"),
        ("file: teams.xlsx, key: source", "file", "'teams.xlsx' does not tell its format", ".parquet"),
        ("file: folder.csv, key: source", "file", "is a directory", ""),
        ("file: teams.csv", "", "missing: 'key'", "column"),
        ("file: teams.csv, key: sorce", "key", "no column 'sorce'", "did you mean 'source'?"),
        ("key: source", "", "missing: 'file'", ""),
        ("file: empty.csv, key: source", "file", "it has no header", ""),
        ("file: latin.csv, key: source", "file", "line 2 has a byte that is not UTF-8", "UTF-8"),
        ("file: broken.json, key: source", "file", "not an array of objects", ""),
        ("file: lines.ndjson, key: source", "key", "no column 'source'", "known: a, b"),
        ("file: wide.parquet, key: source", "key", "no column 'source'", "known: x"),
        ("file: broken.parquet, key: source", "file", "no parquet file", ""),
        ("file: broken.mmdb", "file", "no mmdb file", ""),
        ("file: geo.mmdb, key: ip", "key", "has no key", "remove it"),
        ("file: teams.csv, key: source, delimiter: ;", "delimiter", "unknown key 'delimiter'", ""),
    ],
)
def test_a_mistake_in_a_lookup_is_told_at_its_place(
    settings: str, path: str, said: str, suggestion: str, problems: Problems, tmp_path: Path
) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "empty.csv").touch()
    (tmp_path / "latin.csv").write_bytes(b"source,v\na,\xe9\n")
    (tmp_path / "broken.json").write_text('[{"source": 1},')
    (tmp_path / "lines.ndjson").write_text('{"a": 1}\n{"b": 1}\n')
    pq.write_table(pa.table({"x": [1]}), tmp_path / "wide.parquet")
    for end in ("parquet", "mmdb"):
        (tmp_path / f"broken.{end}").write_text("no such thing")
    write_mmdb(tmp_path / "geo.mmdb", NETWORKS)
    text = enrich("lookup: teams, on: source, into: event.t", f"teams: {{{settings}}}")
    found = [problem for problem in problems(text) if problem.severity == "error"]
    assert [(problem.path, problem.line) for problem in found] == [("lookups.teams" + (f".{path}" if path else ""), 1)]
    assert said in found[0].message
    assert suggestion in (found[0].suggestion or "")


def test_a_lookup_that_no_step_names_gives_a_warning(problems: Problems) -> None:
    [problem] = problems(f"lookups: {{teams: {{file: teams.csv, key: source}}}}\nstreams: {{web: {{id: {ID}}}}}")
    assert (problem.severity, problem.path) == ("warning", "lookups.teams")


def test_a_file_that_is_gone_keeps_a_pipeline_from_being_deployed_and_not_from_being_read(
    write: Write, tmp_path: Path
) -> None:
    """A process that is started again while the file is being replaced finds its configuration."""
    path = write(CONTRACT)
    (tmp_path / "teams.csv").unlink()
    assert load(path).streams["web"].lookups
    with pytest.raises(ConfigError, match=r"there is no such file"):
        load(path, files=True)
