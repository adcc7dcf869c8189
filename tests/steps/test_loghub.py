"""Real logs of six systems, parsed by the pipelines in `examples/loghub`, against what Loghub says is in them.

The data is read in place, from HEADRACE_DATA.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from flows.config import load
from tests.steps.parsing import process

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("HEADRACE_DATA", ROOT / "../shared/data")) / "loghub"
SYSTEMS = ("Apache", "HDFS", "Linux", "OpenSSH", "OpenStack", "Zookeeper")
NOT_OF_THE_LINE = ("LineId", "EventId", "EventTemplate")


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_line_has_the_columns_that_loghub_gives_it(system: str) -> None:
    log = DATA / system / f"{system}_2k.log"
    if not log.exists():
        pytest.skip(f"no {log}: HEADRACE_DATA names the directory with the logs")
    (stream,) = load(ROOT / "examples" / "loghub" / f"{system.lower()}.yaml").streams.values()
    lines = log.read_text().splitlines()
    with log.with_name(f"{log.name}_structured.csv").open(newline="") as file:
        expected = [
            {name.lower(): value.strip() or None for name, value in row.items() if name not in NOT_OF_THE_LINE}
            for row in csv.DictReader(file)
        ]
    outcome = process(stream, [{"source": system, "event": {"message": line}} for line in lines])
    events = [row["event"] for row in outcome["lake"]]
    found = [{name: value for name, value in event.items() if name != "message"} for event in events]
    assert len(expected) == 2000
    assert [pair for pair in zip(lines, found, expected, strict=True) if pair[1] != pair[2]] == []
