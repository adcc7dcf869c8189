"""`headrace send`: every line arrives once, or is named with its reason."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import zstandard

from headrace.delivery import MAX_BODY, Account, Delivery, Line
from tests.cli.conftest import Place, Up, ndjson, run, wait_for

Served = tuple[Place, Up]


def send(served: Served, *arguments: str | Path, stdin: bytes | None = None) -> tuple[int, dict[str, Any], str]:
    place, up = served
    env = {"HEADRACE_URL": up.url, "HEADRACE_TOKEN": place.made["token"]}
    done = run("send", "events", *arguments, "--json", cwd=place.directory, env=env, stdin=stdin)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def landed(served: Served, source: str, count: int) -> list[dict[str, Any]]:
    def look() -> list[dict[str, Any]] | None:
        rows = [row for row in served[0].rows("event_id", "source", "event") if row["source"] == source]
        return rows if len(rows) >= count else None

    rows: list[dict[str, Any]] = wait_for(look, f"{count} rows of {source}")
    assert len(rows) == count
    assert len({row["event_id"] for row in rows}) == count
    return rows


def test_a_file_of_many_batches_lands_whole(served: Served, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(ndjson("many", 12_000))
    code, account, _ = send(served, tmp_path / "f")
    assert (code, account["events"], account["refused"]) == (0, 12_000, [])
    assert account["requests"] > 1
    assert sorted(row["event"]["n"] for row in landed(served, "many", 12_000)) == list(range(12_000))


def test_log_lines_become_messages_whatever_their_bytes(served: Served, tmp_path: Path) -> None:
    (tmp_path / "app.log").write_bytes(b'  indented "quoted"\r\n\n\xff\xfe not utf-8\ttab\nlast, no newline')
    code, account, _ = send(served, tmp_path / "app.log", "--raw", "--source", "raw")
    assert (code, account["events"]) == (0, 3)
    messages = {row["event"]["message"] for row in landed(served, "raw", 3)}
    assert messages == {'  indented "quoted"', "�� not utf-8\ttab", "last, no newline"}


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_stdin_is_read_and_every_compression_is_understood(served: Served, compression: str) -> None:
    code, _, _ = send(served, "-", "--compression", compression, stdin=ndjson(f"stdin-{compression}", 10))
    assert code == 0
    landed(served, f"stdin-{compression}", 10)


def test_bad_lines_are_named_and_the_others_arrive(served: Served, tmp_path: Path) -> None:
    lines = ndjson("mixed", 400).splitlines()
    lines[9] = b'{"source": "mixed"}'
    lines[99] = b"not json"
    lines[100] = b""
    lines[199] = b'{"source": "mixed", "event": {}, "timestamp": "yesterday"}'
    lines[299] = b'{"source": "mixed", "event": {"x": "' + b"x" * MAX_BODY + b'"}}'
    (tmp_path / "f").write_bytes(b"\n".join(lines))
    code, account, _ = send(served, tmp_path / "f")
    assert code == 1
    refused = {row["line"]: row["error"] for row in account["refused"]}
    assert refused == {10: "missing_field", 100: "invalid_json", 200: "invalid_format", 300: "payload_too_large"}
    landed(served, "mixed", 395)


def test_more_bad_lines_than_one_answer_names_are_all_found(served: Served, tmp_path: Path) -> None:
    good, bad = ndjson("some", 300).splitlines(), [b'{"source": ""}'] * 300
    (tmp_path / "f").write_bytes(b"\n".join(line for pair in zip(good, bad, strict=True) for line in pair))
    _, account, _ = send(served, tmp_path / "f")
    assert [row["line"] for row in sorted(account["refused"], key=lambda row: row["line"])] == list(range(2, 601, 2))
    landed(served, "some", 300)


def test_a_run_repeated_under_its_key_doubles_nothing(served: Served, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(ndjson("keyed", 50))
    assert send(served, tmp_path / "f", "--key", "nightly")[0] == 0
    assert send(served, tmp_path / "f", "--key", "nightly")[0] == 0
    (tmp_path / "g").write_bytes(ndjson("keyed-end", 1))
    assert send(served, tmp_path / "g")[0] == 0
    landed(served, "keyed-end", 1)
    landed(served, "keyed", 50)


def test_what_a_person_can_get_wrong_is_one_line_with_the_remedy(served: Served, tmp_path: Path) -> None:
    place, up = served
    (tmp_path / "f").write_bytes(ndjson("x", 1))
    token = place.made["token"]
    cases = [
        (["events", "missing.ndjson", "--token", token], 1, "missing.ndjson"),
        (["event", str(tmp_path / "f"), "--token", token], 1, "its streams: events"),
        (["events", str(tmp_path / "f"), "--token", "hr_wrong"], 1, "headrace token create"),
        (["00000000-0000-4000-8000-000000000000", str(tmp_path / "f"), "--token", token], 1, "refused"),
        (["events", str(tmp_path / "f")], 2, "HEADRACE_TOKEN"),
        (["events", str(tmp_path / "f"), "--token", token, "--raw"], 2, "--source"),
        (["events", str(tmp_path / "f"), "--token", token, "--url", "nonsense"], 1, "--url"),
    ]
    for arguments, code, words in cases:
        failed = run("send", *arguments, cwd=place.directory, env={"HEADRACE_URL": up.url})
        assert failed.returncode == code, (arguments, failed.stderr)
        assert words in failed.stderr


def test_a_gateway_that_is_away_is_given_up_in_the_end(place: Place) -> None:
    (place.directory / "f").write_bytes(ndjson("x", 1))
    arguments = ("send", "events", "f", "--token", "hr_x_y", "--url", "http://127.0.0.1:9", "--give-up-after", "0.5")
    failed = run(*arguments, cwd=place.directory)
    assert failed.returncode == 1
    assert "headrace up" in failed.stderr


class Scripted(ThreadingHTTPServer):
    """A gateway that gives the answers of a script and keeps what it was sent."""

    def __init__(self, script: list[tuple[int, dict[str, str]]]) -> None:
        self.script = script
        self.seen: list[tuple[str, bytes]] = []
        super().__init__(("127.0.0.1", 0), _Answer)


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def do_POST(self) -> None:
        body = zstandard.decompress(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.headers["Idempotency-Key"], body))
        status, headers = self.server.script.pop(0)
        if status == 0:  # the answer is lost on its way
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in ({"Content-Length": "2"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def script() -> Iterator[Any]:
    servers = []

    def start(*answers: tuple[int, dict[str, str]]) -> Scripted:
        server = Scripted(list(answers))
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def deliver(server: Scripted, pauses: list[float], *batches: list[Line]) -> Account:
    url = f"http://127.0.0.1:{server.server_address[1]}"
    delivery = Delivery(url, "t", "s", key="run", sleep=pauses.append, uniform=lambda low, high: high)
    for batch in batches:
        delivery.send(batch)
    return delivery.account


def test_a_batch_is_tried_again_under_the_same_key_until_it_is_taken(script: Any) -> None:
    server = script((503, {}), (429, {}), (0, {}), (200, {}))
    pauses: list[float] = []
    account = deliver(server, pauses, [Line(1, b"{}"), Line(2, b"{}")])
    assert (account.events, account.requests, account.retries) == (2, 1, 3)
    assert len(set(server.seen)) == 1
    assert pauses == [0.25, 0.5, 1.0]


def test_what_the_gateway_asks_for_is_the_least_that_is_waited(script: Any) -> None:
    pauses: list[float] = []
    deliver(script((429, {"Retry-After": "7"}), (200, {})), pauses, [Line(1, b"{}")])
    assert pauses == [7.25]


def test_equal_batches_at_different_places_of_a_file_have_different_keys(script: Any) -> None:
    server = script((200, {}), (200, {}))
    deliver(server, [], [Line(1, b"{}")], [Line(2, b"{}")])
    assert len({key for key, _ in server.seen}) == 2
