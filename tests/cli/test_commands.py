"""`check`, `schema`, `token`, `doctor`, `version`."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.cli.conftest import Place, Up, run, wait_for


def as_json(*arguments: str, cwd: Path) -> Any:
    done = run(*arguments, "--json", cwd=cwd)
    return json.loads(done.stdout)


def test_check_names_every_mistake_with_its_place(place: Place) -> None:
    place.config.write_text("datta: x\nstreams:\n  events:\n    id: 7\n    steps: [{fliter: 'true'}]\n")
    done = run("check", "--json", cwd=place.directory)
    rows = json.loads(done.stdout)
    assert done.returncode == 1
    assert {row["line"] for row in rows} == {1, 4, 5}
    assert set(rows[0]) == {"file", "line", "column", "path", "severity", "message", "suggestion"}
    told = run("check", cwd=place.directory)
    assert told.returncode == 1
    assert "headrace.yaml:5" in told.stdout


def test_a_configuration_is_found_by_option_and_by_environment(place: Place, tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert run("check", cwd=elsewhere).returncode == 1
    assert run("check", "-c", place.config, cwd=elsewhere).returncode == 0
    assert run("check", cwd=elsewhere, env={"HEADRACE_CONFIG": str(place.config)}).returncode == 0


def test_schema_is_a_json_schema(tmp_path: Path) -> None:
    schema = json.loads(run("schema", cwd=tmp_path).stdout)
    assert "streams" in schema["properties"]


def test_a_token_works_until_it_is_revoked(served: tuple[Place, Up]) -> None:
    place, up = served
    made = as_json("token", "create", "--stream", "events", "--expires", "90d", cwd=place.directory)
    assert made["token"].startswith(f"hr_{made['id']}_")
    headers = {
        "Authorization": f"Bearer {made['token']}",
        "X-Stream-Id": place.made["stream_id"],
        "Content-Type": "application/json",
    }

    def answer() -> tuple[int, str]:
        body = b'{"source": "t", "event": {}}'
        got = urllib3.request("POST", f"{up.url}/v1/streams/ingest", body=body, headers=headers, timeout=10)
        return got.status, got.json().get("error", "")

    assert answer() == (200, "")
    listed = {row["id"]: row for row in as_json("token", "list", cwd=place.directory)}
    assert listed[made["id"]]["streams"] == ["events"]
    assert listed[made["id"]]["state"] == "valid"
    assert "token" not in listed[made["id"]]
    assert run("token", "revoke", made["id"], cwd=place.directory).returncode == 0
    wait_for(lambda: answer() == (401, "token_revoked"), "the revocation", deadline=5)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["create", "--stream", "paiments"], 1, "its streams: events"),
        (["create", "--stream", "events", "--expires", "soon"], 2, "90d"),
        (["create", "--stream", "events", "--all-streams"], 2, "--stream"),
        (["create", "--stream", "events", "--permission", "root"], 2, "ingest"),
        (["revoke", "nosuch"], 1, "token list"),
    ],
)
def test_a_wrong_token_command_says_what_is_right(place: Place, arguments: list[str], code: int, words: str) -> None:
    failed = run("token", *arguments, cwd=place.directory)
    assert failed.returncode == code
    assert words in failed.stderr


def test_doctor_finds_nothing_wrong_with_a_fresh_place(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    rows = as_json("doctor", "--port", port, cwd=place.directory)
    parts = {row["part"]: row["status"] for row in rows}
    assert set(parts) >= {"python", "engines", "configuration", "port", "data", "log", "tokens", "destination lake"}
    assert "fail" not in parts.values()


def test_doctor_says_what_to_do_about_what_is_broken(place: Place) -> None:
    text = place.config.read_text()
    lake = "\ndestinations:\n  lake: {type: delta, uri: \"s3://nobody/{stream}\", endpoint: 'http://127.0.0.1:9'}\n"
    kafka = "log: {kafka: {bootstrap_servers: '127.0.0.1:9'}}\n"
    place.config.write_text(text + lake + kafka)
    done = run("doctor", "--json", cwd=place.directory)
    found = {row["part"]: row for row in json.loads(done.stdout)}
    assert done.returncode == 1
    assert found["log"]["status"] == "fail"
    assert found["destination lake"]["status"] == "fail"
    assert found["tokens"]["status"] == "ok"


def test_doctor_survives_a_configuration_that_does_not(place: Place) -> None:
    place.config.write_text("streams: [")
    done = run("doctor", cwd=place.directory)
    assert done.returncode == 1
    assert "headrace.yaml:" in done.stdout


def test_version_names_the_engines(tmp_path: Path) -> None:
    assert set(as_json("version", cwd=tmp_path)) >= {"headrace", "bytewax", "duckdb", "deltalake"}
