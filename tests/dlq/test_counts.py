"""`headrace_dead_letters_total` says by stream and stage what is in the table of dead letters."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from connectors.record import Record, new_request_id, now_microseconds
from tests.cli.conftest import Place, wait_for
from tests.cli.test_metrics import Scraped
from tests.dlq.letters import letters
from tests.flows.pipelines import append, opened, rows
from tests.services.web import WebServer

ROLLED, GONE = "22222222-2222-4333-8444-555555555555", "33333333-2222-4333-8444-555555555555"
PARSE = {"field": "event.line", "as": "json", "into": "event.it", "on_error": "dead_letter"}


def event(minute: int = 0, **members: Any) -> dict[str, Any]:
    return {"source": "a", "timestamp": f"2025-01-01T00:{minute:02}:00Z", "event": {"line": "{}", **members}}


@pytest.mark.timeout(300)
def test_every_stage_is_counted_as_it_is_kept(place: Place) -> None:
    web = WebServer(lambda request: 422 if b'"bad"' in request.body else 200)
    rollup = {"name": "minutes", "every": "1m", "aggregate": {"events": "count(*)"}, "to": ["lake"]}
    pay, stream = place.made["stream"], place.made["stream_id"]
    text = {
        "destinations": {
            "lake": {"type": "delta", "uri": "./data/lake/{stream}"},
            "hook": {"type": "http", "url": web.url},
        },
        "streams": {
            pay: {"id": stream, "schema": "reject", "steps": [{"parse": PARSE}], "routes": [{"to": ["lake", "hook"]}]},
            "rolled": {"id": ROLLED, "steps": [{"parse": PARSE}], "rollups": [rollup]},
        },
    }
    place.config.write_bytes(msgspec.json.encode(text))
    config, log = opened(place.config)
    with place.running() as up:
        append(log, [event(kind="fine"), event(kind="bad")], stream=stream)
        wait_for(lambda: place.rows("event_id"), "a table")
        append(log, [event(new=1), event(new=2), event(line="{broken")], stream=stream)
        append(log, [event(9), event(9, line="{broken")], stream=ROLLED)
        append(log, [event(), event()], stream=GONE)
        for one in (stream, ROLLED):
            log.append(Record(one, new_request_id(), now_microseconds(), 1, b"{no event"))
        wait_for(lambda: len(rolled(config)) == 1, "the event that moves the watermark")
        append(log, [event(0)], stream=ROLLED)
        expected = {
            (pay, "destination"): 1,
            (pay, "schema"): 2,
            (pay, "parse"): 2,
            ("rolled", "parse"): 2,
            ("rolled", "rollup"): 1,
            ("unknown", "stream"): 2,
        }

        def kept() -> Counter[tuple[str, str]]:
            return Counter((row["stream"].replace(GONE, "unknown"), row["stage"]) for row in letters(config.data))

        def counted() -> dict[tuple[str, str], float]:
            now = Scraped(f"{up.url}/metrics")
            return {key: now.sum("headrace_dead_letters_total", stream=key[0], stage=key[1]) for key in expected}

        wait_for(lambda: kept() == expected, "the letters")
        wait_for(lambda: counted() == expected, "their counts")
    web.stop()


def rolled(config: Any) -> list[str]:
    try:
        return [row[0] for row in rows(config, "event_id", "rolled")]
    except Exception:  # noqa: BLE001 -- no table yet
        return []
