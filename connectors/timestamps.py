"""ISO 8601 date-times to instants: the one reading of an event's `timestamp`, at the gateway and after the log.

Both forms of ISO 8601 are read (extended `2025-02-12T14:32:15Z`, basic `20250212T143215Z`), calendar, week and ordinal
dates, `T`, `t` or a space between date and time, a fraction of the last unit written (after a point or a comma, any
number of digits, cut to microseconds), `Z` or an offset, no offset meaning UTC; 24:00 is the next day's midnight and a
leap second is the second after it. A date alone is no date-time.
"""

from __future__ import annotations

import re
from datetime import date

_FORM = re.compile(
    r"""(?:
        (?P<year>[0-9]{4})-
        (?:(?P<month>[0-9]{2})-(?P<day>[0-9]{2})|W(?P<week>[0-9]{2})-(?P<weekday>[0-9])|(?P<ordinal>[0-9]{3}))
        [Tt\ ](?P<hour>[0-9]{2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?)?
      | (?P<year_>[0-9]{4})
        (?:(?P<month_>[0-9]{2})(?P<day_>[0-9]{2})|W(?P<week_>[0-9]{2})(?P<weekday_>[0-9])|(?P<ordinal_>[0-9]{3}))
        [Tt\ ](?P<hour_>[0-9]{2})(?:(?P<minute_>[0-9]{2})(?P<second_>[0-9]{2})?)?
    )
    (?:[.,](?P<fraction>[0-9]+))?
    (?:[Zz]|(?P<sign>[+-])(?P<offset_hours>[0-9]{2})(?::?(?P<offset_minutes>[0-9]{2}))?)?
    """,
    re.VERBOSE,
)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_SECOND = 1_000_000
_FIRST = (date(1, 1, 1).toordinal() - _EPOCH_DAY) * 86_400 * _SECOND
_LAST = (date(9999, 12, 31).toordinal() - _EPOCH_DAY + 1) * 86_400 * _SECOND - 1
_FRACTION_DIGITS = 18  # beyond these no digit can reach a microsecond, even of an hour


def parse_timestamp(text: str) -> int:
    """The instant that an ISO 8601 date-time names, in microseconds since the Unix epoch.

    ValueError where `text` is no such date-time, or its instant in UTC lies outside the years 0001 to 9999.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("not an ISO 8601 date-time")
    part = {name.rstrip("_"): value for name, value in match.groupdict().items() if value is not None}
    instant = _day(part) * 86_400 * _SECOND + _time_of_day(part) - _offset(part)
    if not _FIRST <= instant <= _LAST:
        raise ValueError("outside the years 0001 to 9999")
    return instant


def _day(part: dict[str, str]) -> int:
    """Days since the epoch; ValueError for a day that no calendar has."""
    year = int(part["year"])
    if "week" in part:
        day = date.fromisocalendar(year, int(part["week"]), int(part["weekday"]))
    elif "ordinal" in part:
        day = date.fromordinal(date(year, 1, 1).toordinal() + int(part["ordinal"]) - 1)
        if day.year != year:
            raise ValueError("the year has no such day")
    else:
        day = date(year, int(part["month"]), int(part["day"]))
    return day.toordinal() - _EPOCH_DAY


def _time_of_day(part: dict[str, str]) -> int:
    """Microseconds since midnight; ValueError for a time that no clock shows."""
    hour, minute, second = int(part["hour"]), int(part.get("minute", 0)), int(part.get("second", 0))
    unit = 1 if "second" in part else 60 if "minute" in part else 3600
    digits = part.get("fraction", "")[:_FRACTION_DIGITS]
    fraction = int(digits) * unit * _SECOND // 10 ** len(digits) if digits else 0
    if (
        minute > 59
        or second > 60
        or hour > 24
        or (hour == 24 and (minute or second or part.get("fraction", "").strip("0")))
    ):
        raise ValueError("no such time of day")
    return (hour * 3600 + minute * 60 + second) * _SECOND + (0 if second == 60 else fraction)


def _offset(part: dict[str, str]) -> int:
    if "sign" not in part:
        return 0
    hours, minutes = int(part["offset_hours"]), int(part.get("offset_minutes", 0))
    if hours > 23 or minutes > 59:
        raise ValueError("no such offset")
    offset = (hours * 3600 + minutes * 60) * _SECOND
    return offset if part["sign"] == "+" else -offset
