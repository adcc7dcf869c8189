"""Which texts are ISO 8601 date-times, and which instant each is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.timestamps import parse_timestamp

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(*parts: int) -> int:
    return (datetime(*parts, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("2025-02-12T14:32:15Z", (2025, 2, 12, 14, 32, 15)),
        ("2025-02-12t14:32:15z", (2025, 2, 12, 14, 32, 15)),
        ("2025-02-12 14:32:15", (2025, 2, 12, 14, 32, 15)),
        ("2025-02-12T14:32", (2025, 2, 12, 14, 32)),
        ("20250212T143215Z", (2025, 2, 12, 14, 32, 15)),
        ("2025-02-12T14:32:15.1234569Z", (2025, 2, 12, 14, 32, 15, 123456)),
        ("2025-02-12T14:32:15,5+02", (2025, 2, 12, 12, 32, 15, 500000)),
        ("2025-02-12T14:32:15-0530", (2025, 2, 12, 20, 2, 15)),
        ("2025-02-12T14:32:15." + "9" * 5000, (2025, 2, 12, 14, 32, 15, 999999)),
        ("2025-02-12T24:00:00Z", (2025, 2, 13)),
        ("2016-12-31T23:59:60Z", (2017, 1, 1)),
        ("2025-W07-3T14:32:15Z", (2025, 2, 12, 14, 32, 15)),
        ("2025-043T14:32:15Z", (2025, 2, 12, 14, 32, 15)),
        ("0001-01-01T00:00:00Z", (1, 1, 1)),
        ("9999-12-31T23:59:59.999999Z", (9999, 12, 31, 23, 59, 59, 999999)),
        ("2024-02-29T00:00:00Z", (2024, 2, 29)),
    ],
)
def test_a_date_time_is_read(text: str, parts: tuple[int, ...]) -> None:
    assert parse_timestamp(text) == instant(*parts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2025-02-12",
        "now",
        "2025-02-30T00:00:00Z",
        "2025-02-12T25:00:00Z",
        "2025-02-12T24:00:01Z",
        "2025-366T00:00:00Z",
        "2025-02-12T14:60:00Z",
        "2025-02-12T14:32:61Z",
        "2025-13-01T00:00:00Z",
        "2025-02-12T14:32:15+24:00",
        "1739370735",
        "2025-02-12T14:32:15Z ",
        "2025-02-12T14:32:15Z\n",
        "２025-02-12T14:32:15Z",
        "0000-01-01T00:00:00Z",
        "2025-W54-1T00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "9999-12-31T24:00:00Z",
        "2025-02-29T00:00:00Z",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_timestamp(text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_instant_of_the_calendar_comes_back(moment: datetime) -> None:
    assert parse_timestamp(moment.isoformat()) == (moment - EPOCH) // timedelta(microseconds=1)


@given(st.text(max_size=40))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        parse_timestamp(text)
    except ValueError:
        return
