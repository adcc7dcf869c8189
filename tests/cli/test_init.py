"""`headrace init`: from an empty directory to an event in a table."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Place, run


def test_in_an_empty_directory_it_writes_a_configuration_that_checks(tmp_path: Path) -> None:
    made = run("init", "new", cwd=tmp_path)
    assert made.returncode == 0
    checked = run("check", "-c", "new/headrace.yaml", cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_curl_line_that_it_prints_works_as_it_stands_after_up(tmp_path: Path) -> None:
    printed = run("init", cwd=tmp_path).stdout
    [line] = [line.strip() for line in printed.splitlines() if line.strip().startswith("curl ")]
    place = Place.__new__(Place)
    place.directory, place.config, place.made = tmp_path, tmp_path / "headrace.yaml", {"stream": "events"}
    with place.running() as up:
        here = line.replace("http://127.0.0.1:8080", up.url)  # the port is the test's own
        assert here != line
        answer = subprocess.run(["/bin/sh", "-c", here], capture_output=True, text=True, timeout=30, check=True).stdout
        assert json.loads(answer)["status"] == "accepted"
        [row] = place.wait_for_rows(1)
    assert row["event"] == {"message": "it works", "answer": 42}


def test_an_existing_configuration_stays_as_it_is(place: Place) -> None:
    before = place.config.read_text()
    again = run("init", cwd=place.directory)
    assert again.returncode == 1
    assert "headrace.yaml is there already" in again.stderr
    assert place.config.read_text() == before


def test_json_has_what_a_program_needs_to_send_its_first_event(place: Place) -> None:
    assert set(place.made) == {"config", "url", "stream", "stream_id", "token"}
    assert place.made["stream_id"] in place.config.read_text()
    assert place.made["token"].startswith("hr_")


def test_the_token_is_stored_nowhere_in_the_clear(place: Place) -> None:
    secret = place.made["token"].rsplit("_", 1)[1].encode()
    assert not [file for file in place.directory.rglob("*") if file.is_file() and secret in file.read_bytes()]


def test_a_place_that_cannot_be_written_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failed = run("init", "file", cwd=tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert "file" in failed.stderr


def test_a_failed_init_leaves_no_configuration_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "data").touch()  # where the data directory should be
    assert run("init", cwd=tmp_path).returncode == 1
    assert not (tmp_path / "headrace.yaml").exists()
