"""How each kind reads a text: SQL of one value per event, and the parts of it that become leaves."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

import duckdb
import msgspec
import regex

from flows.columns import TIMESTAMP_TYPE, Path, literal
from flows.expression.syntax import run
from flows.steps.parse import functions
from flows.steps.parse.functions import USER_AGENT_FIELDS
from flows.steps.parse.grok import Expanded, captures_of, expand
from flows.steps.parse.re2 import NotForRE2, to_re2
from flows.steps.parse.settings import Parse
from flows.steps.parse.times import instant

TEXT = '"_text"'
VALUE = '"_value"'


class Reading(msgspec.Struct, frozen=True):
    """`value` is SQL over `TEXT`; `read`, over `VALUE`, tells that it could be read; `leaves`: (path, SQL, type)."""

    value: str
    read: str
    leaves: tuple[tuple[Path, str, str], ...]
    texts: tuple[tuple[Path, str, str], ...] = ()
    """(path, SQL of the text, SQL of what it was read as): a text that has something and could not be read so is rescued."""


class Expression(msgspec.Struct, frozen=True):
    """A regular expression compiled: for RE2 where it can run it (`slow` is None), else for `regex`, and why."""

    re2: str
    exact: str
    expanded: Expanded
    slow: str | None


def reading(step: Parse) -> Reading:
    """How the step reads its field's text; not for the kinds that are learned. Raises ValueError."""
    match step.as_:
        case "grok" | "regex":
            return _matched(expression_of(step))
        case "csv":
            return _csv(step)
        case "syslog":
            return _syslog()
        case "url":
            return _url()
        case "user_agent":
            return _agent()
        case _:
            return Reading(instant(step, TEXT), f"{VALUE} IS NOT NULL", (((), VALUE, TIMESTAMP_TYPE),))


def expression_of(step: Parse) -> Expression:
    """The compiled pattern of a `grok` or `regex`. Raises ValueError, UnknownPattern."""
    return _expression(step.pattern or "", tuple(sorted(step.patterns.items())), step.ecs_compatibility, step.as_)


@lru_cache(maxsize=512)
def _expression(pattern: str, own: tuple[tuple[str, str], ...], ecs: str, kind: str) -> Expression:
    if kind == "grok":
        expanded = expand(pattern, dict(own), ecs=ecs == "v1")
        expanded = msgspec.structs.replace(expanded, text=f"(?m){expanded.text}")  # ^ and $ are a line's, as in Ruby
    else:
        expanded = captures_of(pattern)
    try:
        functions.compiled(expanded.text)
    except (regex.error, RecursionError) as exc:
        raise ValueError(f"not a regular expression: {exc}") from None
    if not expanded.captures:
        raise ValueError("it captures nothing; name what is wanted: %{NAME:field} or (?<field>…)")
    try:
        re2 = to_re2(expanded.text)
        run("SELECT regexp_extract('', " + literal(re2) + ", 1)")
        return Expression(re2, expanded.text, expanded, None)
    except NotForRE2 as exc:
        why = str(exc)
    except (re.error, duckdb.Error, RecursionError, KeyError):
        why = "an expression"
    return Expression("", expanded.text, expanded, why)


def _matched(expression: Expression) -> Reading:
    captures = expression.expanded.captures
    if expression.slow is None:
        listed = _list(["m", *(f"g{n}" for n in range(len(captures)))])
        value = f"regexp_extract({TEXT}, {literal(expression.re2)}, {listed})"
        read = f"struct_extract({VALUE}, 'm') <> ''"
        groups = [f"nullif(struct_extract({VALUE}, 'g{n}'), '')" for n in range(len(captures))]
    else:
        value = f"regex_groups({TEXT}, {literal(expression.exact)})"
        read = f"{VALUE} IS NOT NULL"
        groups = [f"nullif({VALUE}[{n + 2}], '')" for n in range(len(captures))]
    by_path: dict[Path, tuple[list[str], str]] = {}
    for capture, group in zip(captures, groups, strict=True):
        by_path.setdefault(capture.path, ([], capture.type))[0].append(group)
    texts = [
        (path, found[0] if len(found) == 1 else f"coalesce({', '.join(found)})", kind)
        for path, (found, kind) in by_path.items()
    ]
    leaves = tuple((path, _as(text, kind), kind) for path, text, kind in texts)
    return Reading(value, read, leaves, _typed(texts))


def _as(text: str, kind: str) -> str:
    if kind == "BIGINT":  # as Ruby's to_i, which cuts: a cast would round
        return f"TRY_CAST(nullif(regexp_extract({text}, '^\\s*[+-]?[0-9]+'), '') AS BIGINT)"
    if kind == "DOUBLE":
        return f"CASE WHEN isfinite(TRY_CAST({text} AS DOUBLE)) THEN TRY_CAST({text} AS DOUBLE) END"
    return text if kind == "VARCHAR" else f"TRY_CAST({text} AS {kind})"


def _csv(step: Parse) -> Reading:
    """RFC 4180: a field may be in double quotes, with a quote inside doubled."""
    delimiter = step.delimiter or ","
    sign = re.escape(delimiter)
    one = f'{sign}(?:"((?:[^"]|"")*)"|([^"{_in_class(delimiter)}][^{_in_class(delimiter)}]*)?)'
    all_of_it = f'(?:{sign}(?:"(?:[^"]|"")*"|(?:[^"{_in_class(delimiter)}][^{_in_class(delimiter)}]*)?))*'
    line = f"({literal(delimiter)} || rtrim({TEXT}, chr(13) || chr(10)))"
    quoted = f"regexp_extract_all({line}, {literal(one)}, 1)"
    plain = f"regexp_extract_all({line}, {literal(one)}, 2)"
    both = f"list_transform(list_zip({quoted}, {plain}), lambda p: coalesce(nullif(p[2], ''), replace(p[1], '\"\"', '\"')))"
    split = f"string_split(rtrim({TEXT}, chr(13) || chr(10)), {literal(delimiter)})"
    value = (
        f"CASE WHEN NOT contains({TEXT}, '\"') THEN {split}"
        f" WHEN regexp_full_match({line}, {literal('(?s)' + all_of_it)}) THEN {both} END"
    )
    texts = []
    for place, written in enumerate(step.columns):
        name, _, kind = written.rpartition(":") if ":" in written else (written, "", "")
        capture = captures_of(f"(?<{name}{chr(0) + kind if kind else ''}>x)").captures[0]
        texts.append((capture.path, f"nullif({VALUE}[{place + 1}], '')", capture.type))
    leaves = tuple((path, _exact(text, kind), kind) for path, text, kind in texts)
    return Reading(value, f"len({VALUE}) BETWEEN 1 AND {len(step.columns)}", leaves, _typed(texts, _exact))


def _typed(
    texts: list[tuple[Path, str, str]], read: Callable[[str, str], str] = _as
) -> tuple[tuple[Path, str, str], ...]:
    return tuple((path, text, read(text, kind)) for path, text, kind in texts if kind != "VARCHAR")


def _exact(text: str, kind: str) -> str:
    """As `_as`, but 2.7 is no whole number: a column's type says what its values are, not what to make of them."""
    if kind == "BIGINT":
        return f"TRY_CAST(regexp_extract({text}, '^\\s*([+-]?[0-9]+)([.]0*)?\\s*$', 1) AS BIGINT)"
    return _as(text, kind)


def _in_class(text: str) -> str:
    return "".join(f"\\x{{{ord(character):x}}}" for character in text)


FACILITIES = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
]
SEVERITIES = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"]

_RFC5424 = (
    r"<(\d{1,3})>([1-9]\d{0,2}) (\S+) (\S+) (\S+) (\S+) (\S+) "
    r'(-|(?:\[[^\s=\]"]+(?: +[^\s=\]"]+="(?:[^"\\\]]|\\.)*")*\s*\])+)(?: (?s:(.*)))?'
)
_RFC3164 = (
    r"(?:<(\d{1,3})>)?((?:[A-Z][a-z]{2} +\d{1,2}(?: \d{4})? \d{2}:\d{2}:\d{2}(?:\.\d+)?)|\d{4}-\d{2}-\d{2}T\S+) "
    r"(?:([^\s\[]*[^\s:\[]) )?(?:: )?(?:([^\s:\[]+)(?:\[([^\]\s]*)\])?: ?)?(?s:(.*))"
)


def _syslog() -> Reading:
    names = ["m", "pri", "version", "time", "host", "app", "proc", "msgid", "data", "text"]
    names += ["pri3", "time3", "host3", "app3", "proc3", "text3"]
    listed = _list(names)
    value = f"regexp_extract(rtrim({TEXT}, chr(13) || chr(10)), {literal(f'^({_RFC5424}|{_RFC3164})$')}, {listed})"

    def part(*names: str) -> str:
        found = [f"nullif(nullif(struct_extract({VALUE}, {literal(name)}), ''), '-')" for name in names]
        return f"coalesce({', '.join(found)})" if len(found) > 1 else found[0]

    priority = f"TRY_CAST({part('pri', 'pri3')} AS BIGINT)"
    when = f"coalesce({_iso(part('time', 'time3'))}, {_yearless(part('time3'))})"
    leaves: list[tuple[Path, str, str]] = [
        (("priority",), priority, "BIGINT"),
        (("facility",), f"({_list(FACILITIES)})[{priority} // 8 + 1]", "VARCHAR"),
        (("severity",), f"({_list(SEVERITIES)})[{priority} % 8 + 1]", "VARCHAR"),
        (("version",), f"TRY_CAST({part('version')} AS BIGINT)", "BIGINT"),
        (("timestamp",), when, TIMESTAMP_TYPE),
        (("hostname",), part("host", "host3"), "VARCHAR"),
        (("appname",), part("app", "app3"), "VARCHAR"),
        (("procid",), part("proc", "proc3"), "VARCHAR"),
        (("msgid",), part("msgid"), "VARCHAR"),
        (("structured_data",), f"structured_data_json({part('data')})::JSON", "JSON"),
        (("message",), f"nullif(ltrim(coalesce({part('text')}, {part('text3')}), chr(65279)), '')", "VARCHAR"),
    ]
    read = f"struct_extract({VALUE}, 'm') <> '' AND coalesce({priority}, 0) < 192"
    return Reading(value, read, tuple(leaves))


def _iso(text: str) -> str:
    return instant(Parse(field="event", as_="timestamp", format="iso8601"), text)


def _yearless(text: str) -> str:
    return instant(Parse(field="event", as_="timestamp", format="syslog"), text)


def _url() -> Reading:
    """RFC 3986, appendix B, with the authority taken apart."""
    pattern = (
        r"^(([A-Za-z][A-Za-z0-9+.-]*):(?://(?:([^:@/?#]*)(?::([^@/?#]*))?@)?(\[[^\]\s]*\]|[^:/?#\s]*)(?::(\d*))?)?"
        r"([^?#\s]*)(?:\?([^#\s]*))?(?:#(\S*))?)$"
    )
    names = ["m", "scheme", "username", "password", "host", "port", "path", "query", "fragment"]
    listed = _list(names)

    def part(name: str) -> str:
        return f"nullif(struct_extract({VALUE}, {literal(name)}), '')"

    leaves: list[tuple[Path, str, str]] = [((name,), part(name), "VARCHAR") for name in names[1:5]]
    leaves[0] = (("scheme",), f"lower({part('scheme')})", "VARCHAR")
    leaves[3] = (("host",), f"lower({part('host')})", "VARCHAR")
    leaves += [
        (("port",), f"TRY_CAST({part('port')} AS BIGINT)", "BIGINT"),
        (("path",), part("path"), "VARCHAR"),
        (("query",), f"query_json({part('query')})::JSON", "JSON"),
        (("fragment",), part("fragment"), "VARCHAR"),
    ]
    read = f"struct_extract({VALUE}, 'm') <> '' AND ({part('host')} IS NOT NULL OR {part('path')} IS NOT NULL)"
    read += f" AND coalesce(TRY_CAST({part('port')} AS BIGINT), 0) < 65536"
    return Reading(f"regexp_extract(trim({TEXT}), {literal(pattern)}, {listed})", read, tuple(leaves))


def _agent() -> Reading:
    leaves = tuple(
        (tuple(name.split("_", 1)), f"struct_extract({VALUE}, {literal(name)})", "VARCHAR")
        for name in USER_AGENT_FIELDS
    )
    return Reading(f"user_agent({TEXT})", f"{VALUE} IS NOT NULL", leaves)


def _list(texts: list[str]) -> str:
    return "[" + ", ".join(map(literal, texts)) + "]"
