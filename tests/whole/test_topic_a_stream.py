"""A Kafka topic a stream, the whole way: HTTP in, tables out, and a stream that is added while headrace runs."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import headrace
from connectors.log import open_log
from flows.config import load
from headrace.lake import NothingLanded
from tests.cli.conftest import Place, run, wait_for


def test_a_stream_that_is_added_gets_a_topic_and_its_events_land(kafka: str, tmp_path: Path) -> None:
    place = Place(tmp_path)
    topic = f"t{uuid.uuid4().hex}.{{stream}}"
    log = f'\nlog:\n  kafka: {{bootstrap_servers: "{kafka}", topic: "{topic}", partitions: 2}}\n'
    place.config.write_text(place.config.read_text() + log)
    made = run("token", "create", "--all-streams", "--json", cwd=tmp_path)
    bearer = {"Authorization": f"Bearer {json.loads(made.stdout)['token']}"}
    added = str(uuid.uuid4())
    with place.running("up", "--port", "0", "--workers", "1", "--processes", "2") as up:
        for number in range(4):
            assert place.post(up.url, _event(number)).status == 200
        wait_for(lambda: _numbers(place, "events") == [0, 1, 2, 3], "the first events")
        place.config.write_text(place.config.read_text().replace("streams:\n", f"streams:\n  added: {{id: {added}}}\n"))

        def accepted() -> bool:
            return place.post(up.url, _event(0), **bearer, **{"X-Stream-Id": added}).status == 200

        wait_for(accepted, "the stream that was added")
        assert place.post(up.url, _event(4)).status == 200
        wait_for(lambda: _numbers(place, "added") == [0], "its event")
        wait_for(lambda: _numbers(place, "events") == [0, 1, 2, 3, 4], "the other stream's next")
        assert up.stop() == 0
    config = load(place.config)
    opened = open_log(config.log)
    assert {opened.place(number)[0] for number in opened.partitions_of(added)} == {topic.replace("{stream}", "added")}
    opened.close()
    rows = [row for row in json.loads(run("stats", "--json", cwd=tmp_path).stdout) if row["kind"] == "partition"]
    assert {row["topic"].rpartition(".")[2] for row in rows} == {"events", "added"}
    assert sum(row["end"] for row in rows) == 6
    assert all(row["lag"] == 0 for row in rows)


def _event(number: int) -> bytes:
    return json.dumps({"source": "s", "event": {"n": number}}).encode()


def _numbers(place: Place, stream: str) -> list[int]:
    try:
        table = headrace.table(stream, config=place.config, columns=["event"])
    except NothingLanded:
        return []
    return sorted(row["event"]["n"] for row in table.to_pylist())
