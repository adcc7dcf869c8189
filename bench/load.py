"""Load for a server on this host: wrk (from PATH, or out of Debian's package), else a small client of our own.

python -m bench.load URL REQUEST SECONDS CONNECTIONS     # our own; REQUEST is a file with one HTTP request
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tests.services.debian import environment, unpacked
from tests.services.process import ServiceMissingError


class Served(msgspec.Struct, frozen=True):
    """What was answered within `seconds`; `bad` were not answered with a 2xx."""

    requests: int
    bad: int
    seconds: float


class Request(msgspec.Struct, frozen=True):
    """One POST, sent again and again."""

    path: str
    headers: dict[str, str]
    body: bytes


def load(url: str, request: Request, seconds: float, connections: int = 32) -> Served:
    """Sends the request on some connections, each as soon as its last was answered."""
    try:
        return _wrk(url, request, seconds, connections)
    except ServiceMissingError:
        return _own(url, request, seconds, connections)


def _wrk(url: str, request: Request, seconds: float, connections: int) -> Served:
    program, environ = shutil.which("wrk"), None
    if program is None:
        root = unpacked("wrk")
        program, environ = str(root / "usr/bin/wrk"), environment(root)
    with tempfile.TemporaryDirectory() as directory:
        body, script = Path(directory, "body"), Path(directory, "request.lua")
        body.write_bytes(request.body)
        headers = "".join(
            f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}\n" for name, value in request.headers.items()
        )
        script.write_text(f'wrk.method = "POST"\n{headers}wrk.body = io.open("{body}", "rb"):read("*a")\n')
        command = [
            program,
            "-t1",
            f"-c{connections}",
            f"-d{max(1, round(seconds))}s",
            "-s",
            str(script),
            url + request.path,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    found = re.search(r"(\d+) requests in ([\d.]+)(m?s|m),", done.stdout)
    if found is None:
        raise RuntimeError(f"wrk said: {done.stdout[-300:]}")
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    took = float(found[2]) * {"s": 1, "ms": 0.001, "m": 60}[found[3]]
    return Served(int(found[1]), int(bad[1]) if bad else 0, took)


def _own(url: str, request: Request, seconds: float, connections: int) -> Served:
    where = urlsplit(url)
    lines = [f"POST {request.path} HTTP/1.1", f"Host: {where.netloc}", f"Content-Length: {len(request.body)}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    with tempfile.NamedTemporaryFile() as file:
        file.write("\r\n".join([*lines, "", ""]).encode() + request.body)
        file.flush()
        command = [sys.executable, "-m", "bench.load", where.netloc, file.name, str(seconds), str(connections)]
        done = subprocess.run(command, capture_output=True, check=True)
    return msgspec.json.decode(done.stdout, type=Served)


def _client(address: tuple[str, int], request: bytes, until: float, counts: list[int]) -> None:
    with socket.create_connection(address) as connection:
        while time.monotonic() < until:
            connection.sendall(request)
            answer = connection.recv(65_536)
            while b"\r\n\r\n" not in answer:
                answer += connection.recv(65_536)
            head, _, body = answer.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head.lower())
            while length and len(body) < int(length[1]):
                body += connection.recv(65_536)
            counts[0 if answer[9:10] == b"2" else 1] += 1


def main() -> None:
    where, file, seconds, connections = sys.argv[1:5]
    host, _, port = where.rpartition(":")
    request, began = Path(file).read_bytes(), time.monotonic()
    counts = [[0, 0] for _ in range(int(connections))]
    arguments = [((host, int(port)), request, began + float(seconds), each) for each in counts]
    threads = [threading.Thread(target=_client, args=each) for each in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    good, bad = (sum(each[place] for each in counts) for place in (0, 1))
    print(msgspec.json.encode(Served(good + bad, bad, time.monotonic() - began)).decode())


if __name__ == "__main__":
    main()
