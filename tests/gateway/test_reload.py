"""A changed headrace.yaml in a running gateway: taken by every worker, and no request is dropped for it."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from tests.cli.conftest import Place, Up, wait_for

OTHER = "b0c3b4de-1923-4ff1-8dba-f92ad912d20f"
EVENT = b'{"source": "test", "event": {"n": 1}}'


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def change(place: Place, **streams: Any) -> None:
    """Writes the configuration anew: the stream that `init` made, and these."""
    mine = {place.made["stream"]: {"id": place.made["stream_id"]}}
    place.config.write_text(yaml.safe_dump({"streams": mine | streams}))


def ask(place: Place, up: Up, stream: str) -> int:
    """The status of an event for a stream, on a connection of its own: any worker may take it."""
    with urllib3.PoolManager() as pool:
        headers = {
            "Authorization": f"Bearer {place.made['token']}",
            "X-Stream-Id": stream,
            "Content-Type": "application/json",
        }
        url = f"{up.url}/v1/streams/ingest"
        return pool.request("POST", url, body=EVENT, headers=headers, timeout=20, retries=False).status


class Sender:
    """Sends to the first stream from a thread, and counts the answers."""

    def __init__(self, place: Place, up: Up) -> None:
        self.answers: Counter[int] = Counter()
        self._ask = lambda: ask(place, up, place.made["stream_id"])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        while not self._stop.is_set():
            try:
                self.answers[self._ask()] += 1
            except urllib3.exceptions.HTTPError:
                self.answers[0] += 1

    def stop(self) -> Counter[int]:
        self._stop.set()
        self._thread.join(60)
        return self.answers


def by_all(place: Place, up: Up, stream: str, status: int) -> bool:
    """Whether so many connections in a row get this answer that no worker can be left that gives another."""
    return all(ask(place, up, stream) == status for _ in range(30))


def versions(up: Up) -> dict[str, float]:
    text = urllib3.request("GET", f"{up.url}/metrics").data.decode()
    found = re.findall(r'^headrace_config_info\{version="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {version: float(value) for version, value in found}


@pytest.mark.timeout(300)
def test_streams_come_and_go_under_load_and_no_request_is_dropped(place: Place) -> None:
    with place.running("serve", "--port", "0", "--workers", "3") as up:
        assert ask(place, up, OTHER) in (403, 404)
        first = versions(up)
        sender = Sender(place, up)
        try:
            for _ in range(3):
                change(place, other={"id": OTHER})
                wait_for(lambda: ask(place, up, OTHER) != 404, "the new stream")
                wait_for(lambda: by_all(place, up, OTHER, ask(place, up, OTHER)), "all workers")
                assert ask(place, up, OTHER) != 404
                change(place)
                wait_for(lambda: by_all(place, up, OTHER, 404), "the end of the stream")
        finally:
            answers = sender.stop()
        assert set(answers) == {200}
        assert list(first.values()) == [1.0]
        assert sorted(versions(up).items(), key=lambda item: -item[1])[:1] == list(first.items())  # as it was at first
        assert sorted(versions(up).values()) == [0.0, 1.0]


@pytest.mark.timeout(300)
def test_limits_are_taken(place: Place) -> None:
    with place.running("serve", "--port", "0", "--workers", "2") as up:
        name, mine = place.made["stream"], place.made["stream_id"]
        assert by_all(place, up, mine, 200)
        change(place, **{name: {"id": mine, "limits": {"requests_per_second": 1}}})
        wait_for(lambda: 429 in {ask(place, up, mine) for _ in range(5)}, "the limit")


@pytest.mark.timeout(300)
def test_a_broken_file_changes_nothing_not_even_for_a_worker_that_is_started_again(place: Place) -> None:
    with place.running("serve", "--port", "0", "--workers", "2") as up:
        change(place, other={"id": OTHER})
        wait_for(lambda: by_all(place, up, OTHER, ask(place, up, OTHER)) and ask(place, up, OTHER) != 404, "the change")
        place.config.write_text("streams: {")
        wait_for(lambda: "is not taken" in up.errors.read_text(), "the refusal")
        workers = [pid for pid, command in up.descendants().items() if command]
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: set(up.descendants()) - set(workers), "new workers")

        def answers() -> bool:
            try:
                return by_all(place, up, OTHER, ask(place, up, OTHER)) and ask(place, up, OTHER) != 404
            except urllib3.exceptions.HTTPError:
                return False

        wait_for(answers, "answers")
        time.sleep(1)
        assert up.errors.read_text().count("is not taken") == 1
        assert up.errors.read_text().count("configuration taken") == 1
