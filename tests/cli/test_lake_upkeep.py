"""`headrace lake …`, and the maintenance that `headrace up` owns, as a person has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from tests.cli.conftest import Place, Up, run, wait_for


def post(place: Place, up: Up, amount: Any) -> None:
    event = {"timestamp": "2025-02-12T01:00:00Z", "source": "s", "event": {"amount": amount}}
    assert place.post(up.url, json.dumps(event).encode()).status == 200


def lake(place: Place) -> DeltaTable:
    return DeltaTable(str(place.directory / "data" / "lake" / "events"))


def send_one_by_one(place: Place, up: Up, amounts: list[Any]) -> None:
    """Each in a commit, and so in a file, of its own."""
    for number, amount in enumerate(amounts, start=len(place.rows("event_id")) + 1):
        post(place, up, amount)
        place.wait_for_rows(number)


def test_the_owner_of_up_compacts_while_rows_come_and_stops_with_it(place: Place) -> None:
    text = place.config.read_text()
    maintenance = "{every: 1s, cold_after: 0s, files: 3}"
    place.config.write_text(
        text + f'\ndestinations: {{lake: {{type: delta, uri: "./data/lake/{{stream}}", maintenance: {maintenance}}}}}\n'
    )
    with place.running() as up:
        send_one_by_one(place, up, [1, 2, 3, 4])
        wait_for(
            lambda: any(commit["operation"] == "OPTIMIZE" for commit in lake(place).history()), "a compaction", 120
        )
        send_one_by_one(place, up, [5, 6])
        assert up.stop() == 0
    assert sorted(row["event"]["amount"] for row in place.rows()) == [1, 2, 3, 4, 5, 6]
    assert "compacted" in up.errors.read_text()
    assert "could not" not in up.errors.read_text()


def test_compact_vacuum_and_history_by_hand_beside_a_running_dataflow(served: tuple[Place, Up]) -> None:
    place, up = served
    send_one_by_one(place, up, [1, 2, 3])
    compacted = run("lake", "compact", "--json", cwd=place.directory)
    assert compacted.returncode == 0, compacted.stderr
    [done] = [row for row in json.loads(compacted.stdout) if row["stream"] == "events"]
    assert (done["partition"], done["files_before"], done["files_after"]) == ("date=2025-02-12", 3, 1)
    assert run("lake", "compact", "events", cwd=place.directory).stdout == "nothing to compact\n"
    [commit] = json.loads(run("lake", "history", "events", "--limit", "1", "--json", cwd=place.directory).stdout)
    assert (commit["operation"], commit["files_removed"]) == ("OPTIMIZE", 3)
    assert "OPTIMIZE" in run("lake", "history", "events", cwd=place.directory).stdout
    dry = json.loads(run("lake", "vacuum", "events", "--keep", "1h", "--dry-run", "--json", cwd=place.directory).stdout)
    assert dry == [{"stream": "events", "destination": "lake", "files": [], "deleted": False}]
    kept = run("lake", "vacuum", "events", "--keep", "1s", cwd=place.directory)
    assert kept.returncode == 2
    assert "at least 1h" in kept.stderr
    assert "0 files deleted" in run("lake", "vacuum", "events", cwd=place.directory).stdout
    send_one_by_one(place, up, [4])
    assert sorted(row["event"]["amount"] for row in place.rows()) == [1, 2, 3, 4]


def test_widen_is_refused_while_a_dataflow_runs_and_takes_rescued_values_back_after(place: Place) -> None:
    command = ("lake", "widen", "events", "event.amount", "DOUBLE")
    with place.running() as up:
        send_one_by_one(place, up, [1, 2.5])
        refused = run(*command, cwd=place.directory)
        assert refused.returncode == 1
        assert "a dataflow runs on" in refused.stderr
        assert "stop `headrace up`" in refused.stderr
        up.stop()
    assert sorted(row["event"]["amount"] or 0 for row in place.rows()) == [0, 1]
    widened = run(*command, "--json", cwd=place.directory)
    assert widened.returncode == 0, widened.stderr
    assert {"rows": 2, "taken_back": 1, "still_rescued": 0}.items() <= json.loads(widened.stdout).items()
    with place.running() as up:
        send_one_by_one(place, up, [3.5])
        up.stop()
    assert sorted(row["event"]["amount"] for row in place.rows()) == [1, 2.5, 3.5]
    assert [row["_rescued"] for row in place.rows()] == [None] * 3


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("history", "nothing"), 1, "there is no table 'nothing'"),
        (("history", "events"), 1, "has landed yet"),
        (("compact", "events", "--destination", "nowhere"), 1, "lakes: lake"),
        (("widen", "events", "event.", "DOUBLE"), 2, "is not the path"),
        (("widen", "events", "event.a", "DUOBLE"), 2, "is not a type"),
        (("vacuum", "--keep", "soon"), 2, "is not a duration"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: tuple[str, ...], code: int, says: str, place: Place, tmp_path: Path
) -> None:
    done = run("lake", *arguments, cwd=place.directory)
    assert done.returncode == code
    assert says in " ".join(done.stderr.replace("│", " ").split())
