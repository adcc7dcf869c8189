"""Texts as instants: ISO 8601, Unix time in its units, the times of syslog, and formats of strptime."""

from __future__ import annotations

import re

import duckdb

from flows.columns import RECEIVED_AT, TIMESTAMP_TYPE, column, literal
from flows.expression.syntax import run
from flows.steps.parse.settings import Parse

_RECEIVED = column(RECEIVED_AT)
_UNIX = {"unix": 1_000_000, "unix_ms": 1_000, "unix_us": 1}
_NAMED = ("iso8601", "rfc3339", "rfc2822", "syslog", *_UNIX, "unix_ns")
_USUAL = "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)?"
_HALF_A_YEAR = "INTERVAL 183 DAY"


_NAMED_ZONES = {"UT": "+0000", "UTC": "+0000", "GMT": "+0000", "Z": "+0000", "EST": "-0500", "EDT": "-0400"}
_NAMED_ZONES |= {"CST": "-0600", "CDT": "-0500", "MST": "-0700", "MDT": "-0600", "PST": "-0800", "PDT": "-0700"}
"""Zones of RFC 2822; other letters there mean nothing."""


def instant(step: Parse, text: str) -> str:
    """SQL of the instant that `text` names by the first of the step's formats that reads it; NULL where none does."""
    formats = (step.format,) if isinstance(step.format, str) else step.format
    read = [_as(format_, text, step.timezone) for format_ in formats]
    return read[0] if len(read) == 1 else f"coalesce({', '.join(read)})"


def format_problem(format_: str) -> str | None:
    """Why a text is no format of a time; None where it is one."""
    if format_.lower() in _NAMED:
        return None
    if "%" not in format_:
        return f"{format_!r} is no format of a time: {', '.join(_NAMED)}, or one of strptime such as '%d/%b/%Y:%H:%M:%S %z'"
    try:
        run(f"SELECT try_strptime('', {literal(format_)})")
    except duckdb.Error as exc:
        return f"{format_!r} is no format of strptime: {str(exc).strip().splitlines()[0]}"
    return None


def timezone_problem(name: str) -> str | None:
    """Why a name is no time zone; None where it is one."""
    known = run("SELECT count(*) FROM pg_timezone_names() WHERE name = ?", name)[0][0]
    return None if known else f"unknown time zone {name[:60]!r}"


def _as(format_: str, text: str, zone: str) -> str:
    if format_.lower() in _NAMED:
        format_ = format_.lower()
    if format_ in ("iso8601", "rfc3339"):
        return _iso8601(text, zone)
    if format_ == "rfc2822":
        return _rfc2822(text)
    if format_ == "syslog":
        spaced = f"regexp_replace({text}, ' +', ' ', 'g')"
        forms = [_strptime(spaced, form, zone) for form in ("%b %d %H:%M:%S", "%b %d %H:%M:%S.%f")]
        forms += [_strptime(spaced, form, zone) for form in ("%b %d %Y %H:%M:%S", "%b %d %Y %H:%M:%S.%f")]
        return f"coalesce({', '.join(forms)})"
    if format_ in _UNIX or format_ == "unix_ns":
        number = f"TRY_CAST(trim({text}) AS {'HUGEINT' if format_ == 'unix_ns' else 'DECIMAL(38,9)'})"
        scaled = f"{number} // 1000" if format_ == "unix_ns" else f"floor({number} * {_UNIX[format_]})"
        whole = f"TRY_CAST(TRY({scaled}) AS BIGINT)"
        return f"CASE WHEN {whole} BETWEEN -62135596800000000 AND 253402300799999999 THEN make_timestamptz({whole}) END"
    return _strptime(text, format_, zone)


def _iso8601(text: str, zone: str) -> str:
    """The cast reads the usual forms; the rarer ones take the slow way, which the events' own `timestamp` takes too."""
    point = f"replace({text}, ',', '.')"
    zoned = f"regexp_full_match({text}, '.*[T ][0-9:.,]*([Zz]|[+-][0-9]{{2}}(:?[0-9]{{2}})?)')"
    plain = f"regexp_full_match({text}, {literal(_USUAL)})"
    local = f"timezone({literal(zone)}, TRY_CAST({point} AS TIMESTAMP))"
    usual = (
        f"TRY_CAST({point} AS {TIMESTAMP_TYPE})"
        if zone == "UTC"
        else f"CASE WHEN {zoned} THEN TRY_CAST({point} AS {TIMESTAMP_TYPE}) ELSE {local} END"
    )
    rare = f"make_timestamptz(iso8601_microseconds({text}))"  # a leap second has the usual form, but no cast reads it
    day = f"CASE WHEN regexp_full_match({text}, '[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}') THEN {local} END"
    usual = f"coalesce({usual}, CASE WHEN contains({text}, ':60') THEN {rare} END)"
    return f"CASE WHEN {plain} THEN {usual} WHEN {text} IS NOT NULL THEN coalesce({day}, {rare}) END"


def _rfc2822(text: str) -> str:
    """`Wed, 10 Jan 2024 00:00:00 +0100 (CET)`: the day's name, the seconds and the comment may be missing."""
    spaced = f"regexp_replace(regexp_replace({text}, '\\([^)]*\\)|^ *[A-Za-z]+,', '', 'g'), '\\s+', ' ', 'g')"
    zone = f"upper(regexp_extract({spaced}, '([A-Za-z]+) ?$', 1))"
    known = "MAP {" + ", ".join(f"{literal(name)}: {literal(offset)}" for name, offset in _NAMED_ZONES.items()) + "}"
    numbered = f"regexp_replace(trim({spaced}), '[A-Za-z]+$', coalesce({known}[{zone}], 'no zone'))"
    forms = [f"try_strptime({numbered}, {literal(form)})" for form in ("%d %b %Y %H:%M:%S %z", "%d %b %Y %H:%M %z")]
    return f"CAST(coalesce({', '.join(forms)}) AS {TIMESTAMP_TYPE})"


def _strptime(text: str, format_: str, zone: str) -> str:
    if re.search(r"%[YyGsxcDF]", format_.replace("%%", "")):
        return _in_zone(text, format_, zone)

    def of(year: str) -> str:
        return _in_zone(f"({year} || ' ' || {text})", f"%Y {format_}", zone)

    year = f"year({_RECEIVED})"
    here, before, after = of(year), of(f"({year} - 1)"), of(f"({year} + 1)")
    return (
        f"CASE WHEN {text} IS NULL THEN NULL WHEN {here} IS NULL THEN coalesce({before}, {after})"
        f" WHEN {here} > {_RECEIVED} + {_HALF_A_YEAR} THEN coalesce({before}, {here})"
        f" WHEN {here} < {_RECEIVED} - {_HALF_A_YEAR} THEN coalesce({after}, {here}) ELSE {here} END"
    )


def _in_zone(text: str, format_: str, zone: str) -> str:
    plain = format_.replace("%%", "")
    if plain.endswith("%z"):  # `Z` is the offset of UTC, as in RFC 3339
        text = f"regexp_replace({text}, '([^A-Za-z])(Z|z|UTC|GMT)$', '\\1+0000')"
    if "%f" in plain:  # microseconds; what has more digits is cut
        text = f"regexp_replace({text}, '([.,][0-9]{{6}})[0-9]+', '\\1')"
    parsed = f"try_strptime({text}, {literal(format_)})"
    if "%z" in format_.replace("%%", "") or "%Z" in format_.replace("%%", ""):
        return f"CAST({parsed} AS {TIMESTAMP_TYPE})"
    return f"timezone({literal(zone)}, {parsed})"
