"""The measuring measures what it says: every step is there, and a ratio is one of costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from bench import __main__ as bench
from bench.measure import Case, measure
from flows.config.settings import STEPS
from flows.steps.mask.settings import MaskKind
from flows.steps.parse.settings import Kind


def work(amount: int) -> object:
    return sum(number * number for number in range(amount))


def test_a_step_costs_what_it_takes_more_than_nothing_done() -> None:
    case = Case("g", "n", 1000, lambda: work(600_000), lambda: work(200_000), lambda: work(200_000), target=0.5)
    found = measure(case, 5)
    assert found.ratio is not None
    assert found.alone is not None
    assert found.ratio == pytest.approx(0.5, rel=0.4)  # twice as much work
    assert found.alone > found.whole


def test_what_drowns_in_the_noise_has_no_figure() -> None:
    found = measure(Case("g", "n", 1000, lambda: work(200_000), lambda: work(400_000)), 3)
    assert (found.alone, found.ratio, found.reference) == (None, None, None)


def test_every_step_and_kind_is_measured_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    monkeypatch.setattr("sys.argv", ["bench", "--rows", "40", "--rounds", "1", "--json", str(file)])
    bench.main()
    shown = capsys.readouterr().out
    results = json.loads(file.read_bytes())
    names = {(one["group"], one["name"].split(",")[0]) for one in results}
    assert {name for group, name in names if group == "parse"} == set(get_args(Kind))
    assert {name for group, name in names if group == "mask"} == set(get_args(MaskKind))
    told = {name.split()[0] for _, name in names} | {group for group, _ in names}
    assert set(STEPS) <= told
    assert {"routes", "rollups"} <= told
    assert all(one["whole"] > 0 for one in results)
    assert len([line for line in shown.splitlines() if line.startswith("| ")]) == len(results) + 1
