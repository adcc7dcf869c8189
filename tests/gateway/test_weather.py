"""Bad weather: bodies that stall, are cut, or inflate; quotas; a log that is down."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import socket
import stat
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from connectors.errors import Unavailable
from connectors.log import Position
from connectors.record import Record
from gateway.app import create_app
from gateway.tokens import TokenStore, tokens_path
from tests.gateway.live import EVENT, LIMITED, METERED, STREAM, Gateway, answer_on, settings_in, wait_until
from tests.gateway.test_http import assert_error

BODY = json.dumps(EVENT).encode()
GIGABYTE = 1 << 30


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


ENCODED = [
    ("gzip", gzip.compress(BODY, mtime=0)),
    ("gzip", gzip.compress(BODY[:9], mtime=0) + gzip.compress(BODY[9:], mtime=0)),
    ("deflate", zlib.compress(BODY)),
    ("deflate", raw_deflate(BODY)),
    ("zstd", zstandard.compress(BODY)),
    ("zstd", zstandard.compress(BODY[:9]) + zstandard.compress(BODY[9:])),
]


@pytest.mark.parametrize(
    ("encoding", "data"), ENCODED, ids=["gzip", "gzip-members", "zlib", "raw-deflate", "zstd", "zstd-frames"]
)
def test_a_compressed_body_counts_inflated_and_a_cut_one_is_refused(
    gateway: Gateway, encoding: str, data: bytes
) -> None:
    assert gateway.post(data, Content_Encoding=encoding).json["ingested_bytes"] == len(BODY)
    assert_error(gateway.post(data[:-2], Content_Encoding=encoding), 400, "invalid_json")
    assert_error(gateway.post(b"no" + data, Content_Encoding=encoding), 400, "invalid_json")


def gzip_bomb() -> Iterator[bytes]:
    compressor = zlib.compressobj(9, wbits=31)
    for _ in range(GIGABYTE >> 24):
        yield compressor.compress(bytes(1 << 24))
    yield compressor.flush()


def resident_bytes(pid: int) -> int:
    """The most that any child of the process ever held."""
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True)
    peaks = [
        Path(f"/proc/{child}/status").read_text().split("VmHWM:")[1].split()[0] for child in children.stdout.split()
    ]
    return max(int(peak) for peak in peaks) * 1024


def test_a_body_that_inflates_to_a_gigabyte_is_refused_before_it_is_inflated(gateway: Gateway) -> None:
    bombs = {"gzip": b"".join(gzip_bomb()), "zstd": zstandard.compress(bytes(GIGABYTE))}
    assert gateway.post(BODY).status == 200
    before = resident_bytes(gateway.process.pid)
    for encoding, bomb in bombs.items():
        body = bomb[:1_048_000]  # gzip cannot be smaller than a thousandth: what fits is still a gigabyte, almost
        assert_error(gateway.post(body, Content_Encoding=encoding), 400, "payload_too_large")
    assert resident_bytes(gateway.process.pid) - before < 100_000_000


def test_a_content_length_over_the_limit_is_refused_without_the_body(gateway: Gateway) -> None:
    with gateway.raw(Content_Length="1048577") as connection:
        answer = answer_on(connection)
    assert_error(answer, 400, "payload_too_large")


def test_a_client_that_is_still_sending_too_much_gets_its_answer(gateway: Gateway) -> None:
    assert_error(gateway.post(b" " * 6_000_000), 400, "payload_too_large")


def test_a_chunked_body_is_taken_and_one_over_the_limit_is_not(gateway: Gateway) -> None:
    with gateway.raw(chunk(BODY) + chunk(b""), Transfer_Encoding="chunked") as connection:
        assert answer_on(connection).status == 200
    with gateway.raw(Transfer_Encoding="chunked") as connection:
        for _ in range(17):
            connection.sendall(chunk(b" " * 65_536))
        assert_error(answer_on(connection), 400, "payload_too_large")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def test_a_chunked_batch_whose_client_goes_away_is_not_taken(gateway: Gateway) -> None:
    line = json.dumps({"source": "cut-short", "event": {}}).encode() + b"\n"
    for goodbye in (socket.SHUT_WR, None):
        connection = gateway.raw(chunk(line), Transfer_Encoding="chunked", Content_Type="application/x-ndjson")
        time.sleep(0.2)  # the chunk alone must have been read: what is tested is what follows it
        if goodbye is None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
        else:
            connection.shutdown(goodbye)
            assert answer_on(connection).status == 503
            connection.close()
    assert gateway.post(BODY).status == 200
    assert not any(b"cut-short" in record.value for record in gateway.records())


@pytest.mark.parametrize("half", [b"", BODY[:10]])
def test_a_body_that_stops_arriving_gets_an_answer_in_time(gateway: Gateway, half: bytes) -> None:
    with gateway.raw(half, Content_Length=str(len(BODY))) as connection:
        assert_error(answer_on(connection), 400, "invalid_json")
    with gateway.raw(b"5\r\n{", Transfer_Encoding="chunked") as connection:
        assert_error(answer_on(connection), 400, "invalid_json")


def test_a_body_that_drips_gets_an_answer_in_time(gateway: Gateway) -> None:
    deadline = time.monotonic() + 15
    with gateway.raw(Content_Length=str(len(BODY))) as connection:
        connection.settimeout(0.2)
        answered = b""
        while not answered:
            assert time.monotonic() < deadline, "still dripping, and no answer"
            try:
                connection.sendall(b" ")
                answered = connection.recv(1000)
            except TimeoutError:
                continue
            except OSError:
                break  # reset: its time was up
        assert b" 400 " in answered or answered == b""


def test_many_stalled_bodies_leave_room_for_others_and_idle_connections_alone(tmp_path: Path) -> None:
    gateway = Gateway(settings_in(tmp_path, body_timeout=1.0, threads=32), workers=1)
    try:
        idle = gateway.raw(BODY, Content_Length=str(len(BODY)))
        assert answer_on(idle).status == 200
        stalled = [gateway.raw(BODY[:5], Content_Length=str(len(BODY))) for _ in range(100)]
        assert gateway.post(BODY).status == 200
        for connection in stalled:
            assert_error(answer_on(connection), 400, "invalid_json")
            connection.close()
        idle.sendall(b"POST /v1/streams/ingest HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert answer_on(idle).status == 401
        idle.close()
    finally:
        assert gateway.stop() == 0


def test_a_head_that_never_ends_does_not_hold_a_connection_for_ever(tmp_path: Path) -> None:
    gateway = Gateway(settings_in(tmp_path, header_timeout=1.0))
    try:
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
            connection.sendall(b"POST /v1/streams/ingest HTTP/1.1\r\nX-A: ")
            assert b" 200 " not in connection.recv(1000)
    finally:
        gateway.stop()


def test_a_quota_of_requests_holds_over_two_processes(gateway: Gateway) -> None:
    _, text = gateway.tokens.create([LIMITED])
    headers = {"Authorization": f"Bearer {text}", "X_Stream_Id": LIMITED}
    wait_until(lambda: gateway.post(EVENT, **headers).status == 200)
    time.sleep(2.1)  # two windows: nothing of the first requests counts any more
    begun, sent, accepted, refused = time.monotonic(), 0, 0, None
    while time.monotonic() - begun < (4 if refused is not None else 30):
        answer = gateway.post(EVENT, **headers)
        sent += 1
        accepted += answer.status == 200
        refused = answer if answer.status == 429 else refused
    seconds = time.monotonic() - begun
    assert accepted <= 50 * (seconds + 1) * 1.1
    assert accepted >= min(sent, 50 * seconds) * 0.8
    assert refused is not None
    assert_error(refused, 429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1
    assert {"ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"} <= set(refused.headers)


def test_a_quota_of_bytes_lets_a_large_request_pass_and_makes_the_next_wait(gateway: Gateway) -> None:
    body = BODY.ljust(60_000)
    assert gateway.post(body, X_Stream_Id=METERED).status == 200
    answer = gateway.post(body, X_Stream_Id=METERED)
    assert_error(answer, 429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 3
    wait_until(lambda: gateway.post(body, X_Stream_Id=METERED).status == 200, 10)


class FakeLog:
    """A log of one process's memory that can be told to be down."""

    partitions = 1

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.down = False

    def append(self, record: Record) -> Position:
        self.check()
        self.records.append(record)
        return Position("events", 0, len(self.records) - 1)

    def take(self, settings: object) -> None:
        pass

    def check(self) -> None:
        if self.down:
            raise Unavailable("the log is down")

    def close(self) -> None:
        pass


def test_a_log_that_is_down_means_503_and_readiness_says_so_until_it_is_back(tmp_path: Path) -> None:
    log = FakeLog()
    app = create_app(settings_in(tmp_path), log)  # type: ignore[arg-type]
    store = TokenStore(tokens_path(tmp_path))
    _, text = store.create([STREAM])
    client = app.test_client()
    headers = {"Authorization": f"Bearer {text}", "X-Stream-Id": STREAM, "Idempotency-Key": "k"}

    def post() -> int:
        return client.post("/v1/streams/ingest", json=EVENT, headers=headers).status_code

    wait_until(lambda: post() == 200)
    log.down = True
    answer = client.post("/v1/streams/ingest", json=EVENT, headers=headers)
    assert answer.status_code == 503
    assert answer.get_json()["error"] == "unavailable"
    assert int(answer.headers["Retry-After"]) >= 1
    wait_until(lambda: client.get("/readyz").status_code == 503)
    assert client.get("/healthz").status_code == 200
    log.down = False
    assert post() == 200
    wait_until(lambda: client.get("/readyz").status_code == 200)


def test_a_log_that_cannot_be_opened_means_503_and_not_a_crash(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    (tmp_path / "log").write_text("in the way of the log's directory")
    app = create_app(settings)
    store = TokenStore(tokens_path(tmp_path))
    _, text = store.create(None)
    headers = {"Authorization": f"Bearer {text}", "X-Stream-Id": STREAM}
    client = app.test_client()
    wait_until(lambda: client.post("/v1/streams/ingest", json=EVENT, headers=headers).status_code != 401)
    assert client.post("/v1/streams/ingest", json=EVENT, headers=headers).status_code == 503
    assert client.get("/readyz").status_code == 503
    (tmp_path / "log").unlink()
    wait_until(lambda: client.post("/v1/streams/ingest", json=EVENT, headers=headers).status_code == 200)


def test_a_bug_is_answered_in_the_shape_of_every_error(tmp_path: Path) -> None:
    log = FakeLog()
    log.append = None  # type: ignore[assignment,method-assign]
    app = create_app(settings_in(tmp_path), log)  # type: ignore[arg-type]
    store = TokenStore(tokens_path(tmp_path))
    _, text = store.create(None)
    headers = {"Authorization": f"Bearer {text}", "X-Stream-Id": STREAM}
    client = app.test_client()
    wait_until(lambda: client.post("/v1/streams/ingest", json=EVENT, headers=headers).status_code == 500)
    assert client.post("/v1/streams/ingest", json=EVENT, headers=headers).get_json()["error"] == "internal"


def test_a_taken_port_is_told_and_not_shared(gateway: Gateway, tmp_path: Path) -> None:
    code = "import pickle, sys; from gateway.serve import serve; from connectors.errors import HeadraceError\n"
    code += "try: serve(pickle.loads(bytes.fromhex(sys.argv[1])), port=int(sys.argv[2]))\n"
    code += "except HeadraceError as exc: print(exc); sys.exit(3)"
    arguments = [pickle.dumps(settings_in(tmp_path)).hex(), str(gateway.port)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, str(gateway.port) in done.stdout) == (3, True)


def test_a_worker_that_has_not_begun_to_serve_ends_by_the_signal_it_gets(tmp_path: Path) -> None:
    code = "import pickle, signal, sys; from gateway.serve import serve\n"
    code += "class Source:\n"
    code += "    def begin(self):\n"
    code += "        print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, flush=True)\n"
    code += "        signal.pause()\n"
    code += "serve(pickle.loads(bytes.fromhex(sys.argv[1])), port=0, workers=1, source=Source())\n"
    command = [sys.executable, "-c", code, pickle.dumps(settings_in(tmp_path)).hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "True\n"  # else the server waits 15 s for it, and kills it
        server.terminate()
        assert server.wait(60) == 0


def test_the_token_store_is_only_its_owners(gateway: Gateway) -> None:
    assert stat.S_IMODE(os.stat(tokens_path(gateway.settings.data)).st_mode) == 0o600
