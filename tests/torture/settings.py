"""The headrace.yaml of a torture: four streams that between them use what could lose, double, disorder or show an event.

`plain` goes to every destination; `windowed` has a step with a memory; `masked` hides what no destination may show, and
sets some events aside; of `strict` some events are refused, by the table and by the index.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

STREAMS = {
    "plain": "11111111-1111-4111-8111-111111111111",
    "windowed": "22222222-2222-4222-8222-222222222222",
    "masked": "33333333-3333-4333-8333-333333333333",
    "strict": "44444444-4444-4444-8444-444444444444",
}
WINDOW_SECONDS = 10
PARTITIONS = 6

SECRET = "TORTURE_S3_SECRET"


def write(
    path: Path,
    *,
    data: Path,
    kafka: str | None,
    s3: tuple[str, str] | None,
    search: str | None,
    hook: str,
    change: int = 0,
) -> None:
    """Writes the file whole: it is watched. `s3` is an endpoint and a key's name; `change` makes another configuration."""
    maintenance = {"every": "15s", "cold_after": "5s", "files": 4}
    lake: dict[str, Any] = {"type": "delta", "uri": str(data / "lake" / "{stream}"), "maintenance": maintenance}
    if s3 is not None:
        endpoint, key = s3
        lake |= {"uri": "s3://torture/lake/{stream}", "endpoint": endpoint, "region": "us-east-1"}
        lake |= {"access_key_id": key, "secret_access_key": f"${{{SECRET}}}"}
    lake["commit_interval"] = "1s" if change % 2 == 0 else "2s"
    destinations: dict[str, Any] = {
        "lake": lake,
        "hook": {"type": "http", "url": f"{hook}/{{stream}}", "timeout": "5s"},
    }
    if search is not None:
        destinations["search"] = {"type": "elasticsearch", "url": search, "index": "torture-{stream}", "timeout": "5s"}
    everywhere = [name for name in ("lake", "search", "hook") if name in destinations]
    stored = [name for name in everywhere if name != "hook"]
    window = {"name": "w", "key": "event.client", "length": f"{WINDOW_SECONDS}s", "lateness": "2s", "idle": "5s"}
    window["aggregate"] = {"n": "count(*)", "total": "sum(event.amount)", "last": "max(event.n)"}  # type: ignore[assignment]
    parse = {"field": "event.reading", "as": "json", "into": "event.parsed", "on_error": "dead_letter"}
    mask = {
        "event.card": "last4",
        "event.email": "hash",
        "event.note": "pii",
        "event.reading": "pii",
        "event.parsed": "pii",
    }
    steps: dict[str, dict[str, Any]] = {
        "plain": {"steps": [{"set": {"event.double": "event.amount * 2"}}], "routes": [{"to": everywhere}]},
        "windowed": {"steps": [{"window": window}], "routes": [{"to": stored}]},
        "masked": {"steps": [{"parse": parse}, {"mask": mask}], "routes": [{"to": everywhere}]},
        "strict": {"schema": "reject", "types": {"event.amount": "BIGINT"}, "routes": [{"to": stored}]},
    }
    streams = {name: {"id": STREAMS[name], "dedupe_window": "12h", **more} for name, more in steps.items()}
    log: dict[str, Any] = {"embedded": {"partitions": PARTITIONS}}
    if kafka is not None:
        log = {"kafka": {"bootstrap_servers": kafka, "topic": "torture", "partitions": PARTITIONS, "ack_timeout": 5}}
    text = {"data": str(data), "log": log, "destinations": destinations, "streams": streams}
    new = path.with_suffix(".new")
    new.write_text(yaml.safe_dump(text, sort_keys=False))
    new.replace(path)
