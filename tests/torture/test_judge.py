"""The judge of a torture finds what is wrong: one that never can would prove nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.torture import judge
from tests.torture.clients import card
from tests.torture.evidence import Logged, written_once
from tests.torture.judge import Findings
from tests.torture.schedule import CARDS, rounds

STREAM = "plain"
NAMES = [(STREAM, "c0", n) for n in range(3)]
IDS = ["e0", "e1", "e2"]
LOGGED = Logged(
    {event_id: (0, offset, 0) for offset, event_id in enumerate(IDS)},
    {name: [event_id] for name, event_id in zip(NAMES, IDS, strict=True)},
)


def arrived(ids: list[str], letters: list[str] | None = None, *, once: bool = True) -> Findings:
    found = Findings()
    judge.arrived(STREAM, "lake", ids, letters or [], LOGGED, found, once=once)
    return found


def test_each_event_once_or_in_the_dead_letters_is_well() -> None:
    assert not arrived(IDS)
    assert not arrived(["e2", "e0"], ["e1"])
    assert not arrived([*IDS, "e0"], once=False)


@pytest.mark.parametrize(
    ("ids", "letters", "lost", "doubled", "wrong"),
    [
        (["e0", "e2"], [], 1, 0, 0),
        ([*IDS, "e1"], [], 0, 1, 0),
        (IDS, ["e1"], 0, 1, 0),
        (["e0", "e1"], ["e2", "e2"], 0, 1, 0),
        ([*IDS, "e9"], [], 0, 0, 1),
    ],
)
def test_what_is_missing_doubled_or_invented_is_found(
    ids: list[str], letters: list[str], lost: int, doubled: int, wrong: int
) -> None:
    found = arrived(ids, letters)
    assert (len(found.lost), len(found.doubled), len(found.wrong)) == (lost, doubled, wrong)
    assert all("c0" in line or "e9" in line for line in found.lines())


def test_an_acknowledged_event_that_the_log_has_not_is_lost_and_one_that_it_has_twice_is_doubled() -> None:
    found = Findings()
    judge.log_holds([*NAMES, (STREAM, "c0", 7)], Logged(LOGGED.places, {**LOGGED.ids, NAMES[0]: ["e0", "x"]}), found)
    assert (len(found.lost), len(found.doubled)) == (1, 1)


def test_a_repeat_is_no_disorder_and_a_first_time_out_of_turn_is() -> None:
    found = Findings()
    judge.in_order(STREAM, "hook", ["e0", "e1", "e0", "e1", "e2"], LOGGED.places, found)
    assert not found
    judge.in_order(STREAM, "hook", ["e1", "e0", "e2"], LOGGED.places, found)
    assert len(found.disordered) == 1


def test_of_documents_those_written_once_have_an_order() -> None:
    def documents(*written: tuple[str, int, int]) -> list[dict[str, Any]]:
        return [{"_id": one, "_seq_no": number, "_version": version} for one, number, version in written]

    found = Findings()
    again = documents(("e2", 2, 1), ("e0", 3, 2), ("e1", 1, 1))  # e0 was sent again
    judge.in_order(STREAM, "search", written_once(again), LOGGED.places, found)
    assert not found
    judge.in_order(STREAM, "search", written_once(documents(("e0", 1, 1), ("e1", 0, 1))), LOGGED.places, found)
    assert len(found.disordered) == 1


def row(number: int, seconds: float, **window: Any) -> dict[str, Any]:
    moment = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    event = {"client": "c0", "n": number, "amount": 2, "w": window or None}
    return {"event_id": f"e{number}", "timestamp": moment, "_late": not window, "event": event}


def test_a_window_is_compared_with_what_sql_says() -> None:
    good = [
        row(1, 0, n=1, total=2, last=1),
        row(2, 10, n=2, total=4, last=2),
        row(3, 20.5, n=1, total=2, last=3),
        row(4, 3),
    ]
    found = Findings()
    assert judge.windows(good, found) == 1
    assert not found
    judge.windows([*good[:2], row(3, 20.5, n=2, total=2, last=3)], found)
    assert len(found.wrong) == 1


def test_an_original_in_a_text_is_found() -> None:
    found = Findings()
    judge.hidden("lake", ["************1111", "[email]"], found)
    assert not found
    judge.hidden("lake", [f'{{"note": "call {card(5)} now"}}', "to someone5@original.example"], found)
    assert len(found.shown) == 2


def test_a_seed_deals_the_same_faults_and_every_kind_comes() -> None:
    targets = sorted({target for at, _ in CARDS.values() for target in at})

    def first(seed: int, count: int = 40) -> list[Any]:
        dealt = rounds(seed, targets)
        return [next(dealt) for _ in range(count)]

    assert first(1) == first(1)
    assert first(1) != first(2)
    met = {(fault.kind, fault.target) for faults in first(3) for fault in faults}
    assert met == {(kind, target) for kind, (at, _) in CARDS.items() for target in at}
