"""The worked examples do what they say: their READMEs are followed to the letter, and what lands is looked at."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.config import check
from tests.cli.conftest import run
from tests.examples.worked import EXAMPLES, KEY, Worked

NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/headrace.yaml"))


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Worked]]:
    """Each example that was asked for, followed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASK_KEY", KEY)
        yield _Followed(tmp_path_factory.mktemp("examples"))


class _Followed(dict[str, Worked]):
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __missing__(self, name: str) -> Worked:
        self[name] = Worked(name, self._directory)
        return self[name]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_no_problem_and_not_even_a_warning(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASK_KEY", KEY)
    assert check(EXAMPLES / name / "headrace.yaml") == []


@pytest.mark.parametrize("name", NAMES)
def test_an_example_holds_tests_and_they_pass(name: str) -> None:
    done = run("test", "--json", cwd=EXAMPLES / name, env={"MASK_KEY": KEY})
    assert len(results := json.loads(done.stdout)) >= 2
    assert [result for result in results if not result["passed"]] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_readme_works_from_top_to_bottom_and_shows_what_comes_out(worked: dict[str, Worked], name: str) -> None:
    blocks = worked[name].blocks
    assert len(blocks) >= 3
    for block in blocks:
        assert block.code == 0, block.text + block.stdout + block.stderr
        if block.expected is not None:
            assert tidy(block.stdout).endswith(tidy(block.expected)), block.stdout
    assert any(block.expected for block in blocks)


def tidy(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


def test_the_data_is_what_the_generator_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import generate

    for file in generate.FILES:
        assert (EXAMPLES / file).read_text() == generate.text_of(file), f"{file}: python examples/generate.py"


def test_every_example_is_in_the_list_of_examples() -> None:
    text = (EXAMPLES / "README.md").read_text()
    assert len(NAMES) >= 3
    for name in NAMES:
        assert f"]({name}/README.md)" in text


def lines(name: str, file: str) -> list[Any]:
    return [json.loads(line) for line in (EXAMPLES / name / file).read_text().splitlines()]


def test_the_lines_of_three_services_become_the_same_fields(worked: dict[str, Worked]) -> None:
    example = worked["microservice-logs"]
    edge = re.compile(r'" (?P<status>\d+) \d+ "-" ".*" (?P<took>[\d.]+)$')
    others = re.compile(
        r"(?:level=| )(?P<level>\w+) +(?:\[|svc=)(?P<who>\w+).*?(?P<status>\d{3}) (?:in |took=)(?P<took>\d+)"
    )
    expected: Counter[tuple[str, int, str, int]] = Counter()
    unread = 0
    for line in (EXAMPLES / "microservice-logs/services.log").read_text().splitlines():
        if match := edge.search(line):
            status = int(match["status"])
            level = "error" if status >= 500 else "warning" if status >= 400 else "info"
            expected["edge", status, level, round(float(match["took"]) * 1000)] += 1
        elif match := others.search(line):
            level = {"warn": "warning"}.get(match["level"].lower(), match["level"].lower())
            expected[match["who"], int(match["status"]), level, int(match["took"])] += 1
        else:
            unread += 1
    rows = example.rows("services")
    events = [row["event"] for row in rows]
    assert Counter((e["service"], e["status"], e["level"], e["latency_ms"]) for e in events) == expected
    assert {row["timestamp"].date().isoformat() for row in rows} == {"2025-03-03"}
    assert unread == 3
    assert len(example.table("dead_letters")) == unread
    assert len(example.table("errors/services")) == sum(e["level"] == "error" for e in events) > 20


def test_what_is_read_is_kept_and_the_rest_is_saved(worked: dict[str, Worked]) -> None:
    example = worked["cost-reduction"]
    sent = lines("cost-reduction", "chatter.ndjson")
    wanted = [line for line in sent if line["event"]["path"] != "/healthz" and line["event"]["level"] != "debug"]
    always = {
        line["event"]["trace"]
        for line in wanted
        if line["event"]["level"] in ("warning", "error") or line["event"]["took_ms"] > 250
    }
    drawn = {
        line["event"]["trace"]
        for line in wanted
        if int(hashlib.sha256(line["event"]["trace"].encode()).hexdigest()[:13], 16) < round(0.1 * 2**52)
    }
    rows = example.rows("chatter")
    assert {row["event"]["trace"] for row in rows} == always | drawn
    assert {row["event"]["trace"]: row["_sample_rate"] for row in rows} == {
        trace: 1.0 if trace in always else 0.1 for trace in always | drawn
    }
    assert all("headers" not in row["event"] and "node" not in row["metadata"]["kubernetes"] for row in rows)
    done = run("preview", "chatter", "--input", "chatter.ndjson", "--summary", "--json", cwd=example.directory)
    steps = [row for row in json.loads(done.stdout) if row["kind"] == "step"]
    assert [step["events_out"] for step in steps[1:]] == [len(wanted), len(wanted), len(rows)]
    assert steps[0]["events_in"] == len(sent)
    assert steps[-1]["bytes_out"] < 0.1 * steps[0]["bytes_in"]


def test_nothing_of_a_person_is_left_anywhere_but_in_the_event_log(worked: dict[str, Worked]) -> None:
    example = worked["pii-cleanup"]
    sent = [line["event"] for line in lines("pii-cleanup", "tickets.ndjson")]
    rows, letters = example.rows("tickets"), example.table("dead_letters")
    assert (len(rows), len(letters)) == (54, 6)
    seen = str(rows) + str(letters) + "".join(block.stdout + block.stderr for block in example.blocks)
    seen += example.directory.joinpath("errors.log").read_text()
    for event in sent:
        for secret in ("email", "card", "address", "device", "password"):
            assert event[secret] not in seen
        assert re.search(r"call (\+1 [\d-]+),", event["note"])[1] not in seen  # type: ignore[index]
    by_ticket = {row["event"]["ticket"]: row["event"] for row in rows}
    for event in sent:
        if event["ticket"] in by_ticket:
            digest = hmac.new(KEY.encode(), event["email"].encode(), hashlib.sha256).hexdigest()
            assert by_ticket[event["ticket"]]["email"].endswith(f":{digest}")
            assert by_ticket[event["ticket"]]["card"] == "*" * 12 + event["card"][-4:]
    assert "[email]" in str(letters)


def test_each_mask_kind_is_shown() -> None:
    text = (EXAMPLES / "pii-cleanup/headrace.yaml").read_text().replace("${MASK_KEY}", KEY)
    [mask] = [step["mask"] for step in yaml.safe_load(text)["streams"]["tickets"]["steps"] if "mask" in step]
    from typing import get_args

    from flows.steps.mask.settings import MaskKind

    assert set(mask.values()) == set(get_args(MaskKind))
