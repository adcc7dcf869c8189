"""`sample` in a running dataflow: the same events are kept however many processes there are, and whatever ends them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.config import Stream
from flows.processor import open_pipeline_engine
from flows.stateful.pipeline import StatefulPipeline
from flows.steps import Dynamic, Per, Sample, Step
from flows.trial import example_lines
from tests.flows.pipelines import Worker, append, drain, landed_so_far, opened, rows, until, write_config

SAMPLES: dict[str, list[dict[str, Any]]] = {
    "keyed": [{"rate": 0.3, "key": "event.k", "keep": "event.keep"}],
    "unkeyed": [{"rate": 0.3}],
    "nested": [{"rate": 0.5, "key": "event.k"}, {"rate": 0.5, "key": "event.k"}],
    "throttled": [{"rate": 0.8}, {"per": {"key": "event.k", "events_per_second": 2}}],
    "shared": [{"dynamic": {"key": "event.k", "target_per_second": 20}}],
}
IDS = {name: f"{number}1111111-2222-4333-8444-555555555555" for number, name in enumerate(SAMPLES, 1)}
KEYS = [f"user-{n}" for n in range(90)]
REQUESTS = 24

Kept = dict[str, list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with a log that no dataflow has read: each key many times, in all partitions."""
    path = tmp_path_factory.mktemp("filled")
    streams = {name: {"id": IDS[name], "steps": [{"sample": one} for one in steps]} for name, steps in SAMPLES.items()}
    _, log = opened(write_config(path, {"streams": streams}))
    for request in range(REQUESTS):
        for identity in IDS.values():
            chosen = [KEYS[(request * 7 + n) % len(KEYS)] for n in range(40)]
            append(log, [_event(key, n) for n, key in enumerate(chosen)], stream=identity)
    log.close()
    return path


def _event(key: str, n: int) -> dict[str, Any]:
    return {"source": "s", "event": {"k": key, "n": n, "keep": key == "user-7"}}


def kept(config: Any) -> Kept:
    return {name: sorted(rows(config, "event_id, event.k, _sample_rate", name)) for name in SAMPLES}


def place(filled: Path, path: Path) -> Path:
    shutil.copytree(filled, path)
    return path / "headrace.yaml"


@pytest.fixture(scope="module")
def alone(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """What one process keeps."""
    path = place(filled, tmp_path_factory.mktemp("alone") / "place")
    drain(path)
    return kept(opened(path)[0])


@pytest.mark.parametrize("processes", [2, 3])
def test_more_processes_keep_the_same_events_at_the_same_rates(
    processes: int, filled: Path, alone: Kept, tmp_path: Path
) -> None:
    path = place(filled, tmp_path / "place")
    drain(path, processes=processes)
    assert kept(opened(path)[0]) == alone


def test_a_process_that_is_killed_and_followed_by_two_keeps_the_same_events(
    filled: Path, alone: Kept, tmp_path: Path
) -> None:
    path = place(filled, tmp_path / "place")
    config, _ = opened(path)
    worker = Worker(path, 0, 1)
    until(lambda: landed_so_far(config, stream="keyed"), what="the first rows")
    worker.kill()
    drain(path, processes=2)
    assert kept(config) == alone


def test_a_key_is_kept_in_all_partitions_or_in_none_as_its_hash_says(alone: Kept) -> None:
    share = {key: int(hashlib.sha256(key.encode()).hexdigest()[:13], 16) / 2**52 for key in KEYS}
    assert {key for _, key, _ in alone["keyed"]} == {key for key in KEYS if share[key] < 0.3} | {"user-7"}
    assert {rate for _, key, rate in alone["keyed"] if key == "user-7"} == {1.0}
    assert {rate for _, key, rate in alone["keyed"] if key != "user-7"} == {0.3}
    assert {rate for *_, rate in alone["nested"]} == {0.25}
    sent = {key: sum(KEYS[(r * 7 + n) % len(KEYS)] == key for r in range(REQUESTS) for n in range(40)) for key in KEYS}
    found = {key: sum(one == key for _, one, _ in alone["keyed"]) for _, key, _ in alone["keyed"]}
    assert found == {key: sent[key] for key in found}


RATE, KEYED = Sample(0.4), Sample(0.5, "event.k")
PER, DYNAMIC = Sample(per=Per(3, "event.k")), Sample(dynamic=Dynamic(15, "event.k"))


@pytest.mark.parametrize(
    "steps",
    [(RATE, PER), (PER, RATE), (KEYED, DYNAMIC), (DYNAMIC, RATE), (DYNAMIC, PER), (PER, PER), (RATE, KEYED, DYNAMIC)],
    ids=lambda steps: " then ".join(str(step) for step in steps),
)
def test_the_rates_of_any_stages_estimate_any_part_of_the_events_without_bias(steps: tuple[Step, ...]) -> None:
    stream = Stream(id=IDS["keyed"], steps=steps)
    errors, counts = [], []
    with open_pipeline_engine() as engine:
        for run in range(60):
            texts = [
                f'{{"source":"s","event":{{"k":"{run}-{n % 5 if n % 4 else n}","part":{n % 10}}}}}' for n in range(200)
            ]
            lines = example_lines(stream.id, texts, 1_735_689_600_000_000 + run * 60_000_000)
            ids = lines.table["request_id"].to_pylist()
            table = lines.table.set_column(
                lines.table.column_names.index("request_id"), "request_id", [[f"{run:08}-{one}" for one in ids]]
            )
            pipeline = StatefulPipeline("pay", stream, "lake", engine)
            came = pipeline.take(lines.__class__(lines.stream, table, lines.ndjson)).joined(pipeline.finish())
            found = [row for part in came.rows["lake"] for row in part.table.to_pylist()]
            counts.append(len(found))
            errors.append(sum(1 / row["_sample_rate"] for row in found if row["event"]["part"] >= 7) - 60)
    assert max(counts) < 200
    error = np.std(errors) / len(errors) ** 0.5
    assert error > 0
    assert abs(np.mean(errors)) < 4.5 * error
