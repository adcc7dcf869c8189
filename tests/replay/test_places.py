"""How `--from` and `--to` are written."""

from __future__ import annotations

import pytest

from flows.replay.places import Instant, Offsets, Place, read_place
from tests.replay.replays import MINUTE, NOON


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("2026-02-12T12:00:00Z", Instant(NOON)),
        ("2026-02-12T14:00:00+02:00", Instant(NOON)),
        ("2026-02-12T12:00:00", Instant(NOON)),
        ("2026-02-12", Instant(NOON - 12 * 60 * MINUTE)),
        ("5m", Instant(NOON - 5 * MINUTE, ago=True)),
        ("offset:7", Offsets(of_all=7)),
        ("0:1,3:9", Offsets({0: 1, 3: 9})),
    ],
)
def test_a_place_is_a_time_a_day_a_time_ago_or_offsets(text: str, place: Place) -> None:
    assert read_place(text, NOON) == place


@pytest.mark.parametrize("text", ["", "2026-02-30", "yesterday", "offset:-1", "0:1,0:2", "2026-02-12T25:00:00Z"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no place|twice"):
        read_place(text, NOON)
