"""`/metrics`: what the gateway and all processes of the dataflow count, in one place, while they come and go."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import urllib3
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from tests.cli.conftest import Place, Up, ndjson, run, wait_for
from tests.services.web import WebServer


class Scraped:
    """What Prometheus has after one scrape."""

    def __init__(self, url: str) -> None:
        self.families = list(text_string_to_metric_families(urllib3.request("GET", url, timeout=10).data.decode()))

    def sum(self, name: str, **labels: str) -> float:
        """Of every series with these labels; 0 where there is none."""
        samples = [sample for family in self.families for sample in family.samples if sample.name == name]
        return sum(one.value for one in samples if labels.items() <= one.labels.items())

    def has(self, name: str) -> bool:
        return any(sample.name == name for family in self.families for sample in family.samples)


@pytest.fixture
def server() -> Iterator[WebServer]:
    made = WebServer()
    yield made
    made.stop()


def configure(place: Place, url: str = "", **stream: object) -> None:
    destinations = {"lake": {"type": "delta", "uri": "./data/lake/{stream}"}}
    if url:
        destinations["hook"] = {"type": "http", "url": url}
    named = {place.made["stream"]: {"id": place.made["stream_id"], **stream}}
    place.config.write_bytes(msgspec.json.encode({"destinations": destinations, "streams": named}))


def send(place: Place, up: Up, source: str, count: int) -> None:
    answer = place.post(up.url, ndjson(source, count), **{"Content-Type": "application/x-ndjson"})
    assert answer.status == 200, answer.data


def test_what_came_in_is_what_went_out_was_dropped_or_set_aside(place: Place) -> None:
    steps = [
        {"filter": "event.n < 8"},
        {"parse": {"field": "event.text", "as": "json", "into": "event.parsed", "on_error": "dead_letter"}},
    ]
    configure(place, steps=steps)
    with place.running("up", "--port", "0", "--workers", "2", "--processes", "2") as up:
        for _ in range(6):
            send(place, up, "a", 10)
        bad = {"source": "a", "event": {"n": 1, "text": "no json"}}
        assert place.post(up.url, msgspec.json.encode(bad)).status == 200
        place.wait_for_rows(48)

        def adds_up() -> bool:
            now = Scraped(f"{up.url}/metrics")
            came = now.sum("headrace_events_accepted_total")
            assert came == 61
            out = now.sum("headrace_rows_committed_total", destination="lake")
            dropped = now.sum("headrace_events_dropped_total", step="steps[0]", intentional="true")
            dead = now.sum("headrace_dead_letters_total", stage="parse")
            return (now.sum("headrace_events_read_total"), out, dropped, dead) == (61, 48, 12, 1)

        wait_for(adds_up, "counts that add up")
        now = Scraped(f"{up.url}/metrics")
        assert now.sum("headrace_commit_latency_seconds_count", destination="lake") >= 1
        assert now.sum("headrace_build_info") == 1
        wait_for(lambda: Scraped(f"{up.url}/metrics").has("headrace_log_lag_records"), "the lag")
        wait_for(lambda: Scraped(f"{up.url}/metrics").sum("headrace_log_lag_records") == 0, "no lag")
        stats = msgspec.json.decode(run("stats", "--json", cwd=place.directory).stdout)
        assert sum(row["rows"] for row in stats if row["kind"] == "destination") == 48


def test_a_destination_that_is_down_shows_it_and_its_return(place: Place, server: WebServer) -> None:
    server.answer = lambda _: 503
    configure(place, server.url, routes=[{"to": ["lake", "hook"]}])
    with place.running() as up:
        send(place, up, "a", 5)
        wait_for(
            lambda: Scraped(f"{up.url}/metrics").sum("headrace_destination_circuit", destination="hook") == 2,
            "the open circuit",
        )
        down = Scraped(f"{up.url}/metrics")
        assert down.sum("headrace_destination_uncommitted_records", destination="hook") == 1
        assert down.sum("headrace_destination_held_bytes", destination="hook") > 0
        assert down.sum("headrace_requests_retried_total", destination="hook") >= 5
        assert down.sum("headrace_destination_circuit", destination="lake") == 0
        server.answer = lambda _: 200

        def is_well() -> bool:
            now = Scraped(f"{up.url}/metrics")
            circuit = now.sum("headrace_destination_circuit", destination="hook")
            left = now.sum("headrace_destination_uncommitted_records", destination="hook")
            return (circuit, left) == (0, 0) and now.sum("headrace_rows_committed_total", destination="hook") == 5

        wait_for(is_well, "its return in the metrics")


def test_counts_go_on_and_files_stay_few_however_often_processes_die(place: Place) -> None:
    with place.running() as up:
        for turn in (1, 2):
            send(place, up, "a", 5)
            place.wait_for_rows(5 * turn)
            before = wait_for(lambda turn=turn: committed(up) >= 5 * turn and committed(up), "the count")
            for part in ("flows.worker", "headrace serve"):
                victim = min(pid for pid, line in up.descendants().items() if part in line)
                os.kill(victim, signal.SIGKILL)
                wait_for(lambda victim=victim: victim not in up.descendants(), "its end")
            wait_for(lambda: answers(up), "the gateway's return")
            assert committed(up) >= before
            assert Scraped(f"{up.url}/metrics").sum("headrace_events_accepted_total") == 5 * turn
        writers = {file.stem.rpartition("_")[2] for file in (place.directory / "data/metrics").rglob("*.db")}
        assert len(writers) <= 5  # six have counted: as many as ran at one time at most


def test_run_alone_serves_metrics_where_it_is_told(place: Place) -> None:
    with place.running("serve", "--port", "0", "--workers", "1") as gateway:
        send(place, gateway, "a", 5)
        with place.running("run", "--processes", "2", "--metrics-port", "0") as dataflow:
            [url] = re.findall(r"metrics (http://\S+)", dataflow.output.read_text())
            place.wait_for_rows(5)
            wait_for(lambda: Scraped(url).sum("headrace_rows_committed_total", destination="lake") == 5, "the count")
            assert not Scraped(url).has("headrace_events_accepted_total")  # the gateway's own it shows itself
            port = url.rsplit(":", 1)[1].split("/")[0]
            taken = run("run", "--metrics-port", port, cwd=place.directory)
            assert taken.returncode == 1
            assert "--metrics-port" in taken.stderr or "another dataflow" in taken.stderr
        assert Scraped(f"{gateway.url}/metrics").sum("headrace_events_accepted_total") == 5


def committed(up: Up) -> float:
    return Scraped(f"{up.url}/metrics").sum("headrace_rows_committed_total")


def answers(up: Up) -> bool:
    try:
        return urllib3.request("GET", f"{up.url}/readyz", timeout=5, retries=False).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def test_every_metric_is_documented() -> None:
    from connectors import counting, telemetry
    from gateway import metrics

    names = {counting.BUILD_INFO}
    for module in (telemetry, metrics):
        for value in vars(module).values():
            if isinstance(value, MetricWrapperBase):
                names |= {family.name + ("_total" if family.type == "counter" else "") for family in value.describe()}
    text = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    documented = set(re.findall(r"^\| `(headrace_\w+)` ", text, re.MULTILINE))
    assert documented == names
