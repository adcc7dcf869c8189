"""`parse`, each of its kinds: what it finds, what it leaves, what becomes of a text that it cannot read."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.config import Stream
from flows.expression.syntax import run
from flows.stages import SET_ASIDE
from flows.steps import Drop, Filter, Parse, Set
from flows.steps.parse.grok import expand
from flows.steps.parse.re2 import NotForRE2, to_re2
from tests.steps.parsing import parsed, process

ACCESS = '127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 2326 "http://x/" "Mozilla/4.08"'


def step(as_: str, **more: Any) -> Parse:
    return Parse(**{"field": "event.message", "as_": as_, **more})


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc] # year, month, day and so on


def test_grok_has_logstash_s_patterns_and_their_legacy_captures() -> None:
    found, nothing = parsed(step("grok", pattern="%{COMBINEDAPACHELOG}", into="event.http"), ACCESS, "other")
    assert found["http"] == {
        "clientip": "127.0.0.1",
        "ident": "-",
        "auth": "frank",
        "timestamp": "10/Oct/2000:13:55:36 -0700",
        "verb": "GET",
        "request": "/a.gif",
        "httpversion": "1.0",
        "response": "200",
        "bytes": "2326",
        "referrer": '"http://x/"',
        "agent": '"Mozilla/4.08"',
    }
    assert nothing == {}


def test_grok_has_the_captures_of_ecs_and_their_types() -> None:
    (found,) = parsed(step("grok", pattern="%{COMBINEDAPACHELOG}", ecs_compatibility="v1"), ACCESS)
    assert found["http"] == {
        "request": {"method": "GET", "referrer": "http://x/"},
        "version": "1.0",
        "response": {"status_code": 200, "body": {"bytes": 2326}},
    }
    assert found["user_agent"] == {"original": "Mozilla/4.08"}


def test_grok_reads_types_nested_names_and_own_patterns() -> None:
    pattern = "%{ORDER:[order][id]} %{NUMBER:took:float} %{INT:n:int} %{INT:big:int}"
    (found,) = parsed(
        step("grok", pattern=pattern, patterns={"ORDER": "[A-Z]{2}%{INT}"}), "AB12 3.5 -7 99999999999999999999"
    )
    assert found == {"order": {"id": "AB12"}, "took": 3.5, "n": -7}


def test_a_number_after_anything_is_the_whole_number() -> None:
    found = parsed(step("grok", pattern="%{GREEDYDATA:what}%{NUMBER:ms:int}ms"), "it took 123ms")
    assert found == [{"what": "it took ", "ms": 123}]


def test_grok_s_flag_m_is_ruby_s_wherever_it_stands() -> None:
    lines = "E 1\ntwo\nthree"
    for pattern in (
        "(?m)%{INT:n} *%{GREEDYDATA:all}",
        "%{INT:n} *(?m)%{GREEDYDATA:all}",
        "%{INT:n} *(?m:%{GREEDYDATA:all})",
    ):
        assert parsed(step("grok", pattern=pattern), lines) == [{"n": "1", "all": "\ntwo\nthree"}]
    assert parsed(step("grok", pattern=r"(?i)e %{INT:n}$"), lines) == [{"n": "1"}]
    assert parsed(step("grok", pattern=r"\(?m\) %{INT:n}"), "(m) 2") == [{"n": "2"}]


def test_an_address_of_ipv6_is_taken_with_the_ipv4_at_its_end() -> None:
    assert parsed(step("grok", pattern="%{IP:a}"), "from ::ffff:10.0.0.1 on", "1::2") == [
        {"a": "::ffff:10.0.0.1"},
        {"a": "1::2"},
    ]


def test_two_captures_of_one_name_are_the_one_that_matched() -> None:
    assert parsed(step("grok", pattern="^(?:%{INT:x}|%{WORD:x})$"), "12", "ab") == [{"x": "12"}, {"x": "ab"}]


@pytest.mark.parametrize("pattern", [r"(?<a>\w)(?=b)", r"(?<a>\w)(?!a)b", r"(?<a>\w)b\1?"])
def test_a_pattern_that_must_backtrack_gives_the_same_kind_of_answer(pattern: str) -> None:
    assert parsed(step("regex", pattern=pattern), "xb", "??") == [{"a": "x"}, {}]


def test_a_pattern_that_would_never_end_fails_in_bounded_time() -> None:
    assert parsed(step("regex", pattern=r"(?=a)(?<x>(?:a+)+)\1$"), "a" * 40 + "b") == [{}]


LINES = st.text(alphabet="aZ09 .:-+\"'[]/\\_\n", max_size=30)
NAMES = ["INT", "NUMBER", "WORD", "IP", "HOSTNAME", "IPORHOST", "QS", "TIME", "YEAR", "MONTHDAY", "NOTSPACE", "DATA"]
NAMES += ["GREEDYDATA", "POSINT", "PATH"]


@settings(max_examples=150)
@given(st.lists(st.sampled_from([*NAMES, " ", ":", r"\[", ".", "-"]), min_size=1, max_size=5), LINES)
def test_without_look_around_a_pattern_matches_just_the_same(parts: list[str], text: str) -> None:
    pattern = "".join(f"%{{{part}:c{place}}}" if part in NAMES else part for place, part in enumerate(parts))
    try:
        expanded = expand(pattern, {}, ecs=False)
        re2 = to_re2("(?m)" + expanded.text)
    except NotForRE2:
        return
    count = len(expanded.captures)
    groups = [run("SELECT regexp_extract(?, ?, " + str(n + 2) + ")", text, re2)[0][0] for n in range(count)]
    match = regex.search("(?m)" + expanded.text, text, regex.ASCII)
    assert groups == ([match[f"g{n}"] or "" for n in range(count)] if match else [""] * count)


def test_json_becomes_typed_fields_beside_its_text() -> None:
    found = parsed(step("json"), '{"a": 1, "b": {"c": [1, 2]}}', '{"a": 2}', "no json", "[1]", "5")
    assert found == [{"a": 1, "b": {"c": [1, 2]}}, {"a": 2}, {}, {}, {}]


def test_json_written_over_several_lines_or_holding_no_json_after_all() -> None:
    assert parsed(step("json"), '{\n "a":\n 1}', '{"a": NaN}', '{"a": 2,}') == [{"a": 1}, {}, {}]


def test_json_in_the_place_of_its_text_keeps_a_text_that_is_none() -> None:
    stream = Stream(id="x", steps=(step("json", into="event.message"),))
    rows = process(stream, [{"source": "a", "event": {"message": text}} for text in ('{"a": 1}', "no json")])["lake"]
    assert rows[0]["event"]["message"] == {"a": 1}
    assert [row["_extra"] for row in rows] == [None, '"event.message":"no json"']


def test_a_later_batch_widens_what_was_learned() -> None:
    stream = Stream(id="x", steps=(step("json"),))
    first = [{"source": "a", "event": {"message": '{"a": 1}'}}]
    second = [{"source": "a", "event": {"message": '{"a": "x", "b": true}'}}, *first]
    rows = process(stream, first, second)["lake"]
    assert [(row["event"]["a"], row["event"]["b"]) for row in rows] == [('"x"', True), ("1", None)]


def test_the_stream_s_types_hold_for_what_is_parsed() -> None:
    found = parsed(step("json"), '{"amount": "12.50"}', types={"event.amount": "DECIMAL(18,2)"})
    assert str(found[0]["amount"]) == "12.50"
    found = parsed(step("regex", pattern=r"(?<amount>[\d.]+)"), "12.50", types={"event.amount": "DECIMAL(18,2)"})
    assert str(found[0]["amount"]) == "12.50"


def test_steps_after_a_parse_see_its_fields() -> None:
    stream = Stream(
        id="x",
        steps=(
            step("json"),
            Filter("event.a > 1"),
            Parse(field="event.t", as_="logfmt", into="event.kv"),
            Set({"event.sum": "event.a + event.kv.n::INT"}),
            Drop(("event.message",)),
        ),
    )
    rows = process(stream, [{"source": "s", "event": {"message": f'{{"a": {n}, "t": "n={n}"}}'}} for n in (1, 2, 3)])
    assert [(row["event"]["sum"], row["event"]["kv"]) for row in rows["lake"]] == [(4, {"n": "2"}), (6, {"n": "3"})]


def test_logfmt() -> None:
    texts = [r'level=info msg="say \"hi\"" flag empty= path=C:\x', "a=1 a=2", "no pairs here", 'a="open']
    assert parsed(step("logfmt"), *texts) == [
        {"level": "info", "msg": 'say "hi"', "flag": True, "empty": "", "path": r"C:\x"},
        {"a": "2"},
        {},
        {},
    ]


def test_kv_with_its_own_signs() -> None:
    assert parsed(step("kv", delimiter="&"), "a=1&b=x y&a=3") == [{"a": "3", "b": "x y"}]
    assert parsed(step("kv", delimiter="; ", assign=": "), "a: 1; b: x y") == [{"a": "1", "b": "x y"}]
    assert parsed(step("kv"), "a=1 b=\"x y\" c='q r' d=http://x/?a=b") == [
        {"a": "1", "b": "x y", "c": "q r", "d": "http://x/?a=b"}
    ]


def test_csv() -> None:
    texts = ['x,5,"q ""r"", s"', ",,", "a", "a,b,c,d", '"open']
    assert parsed(step("csv", columns=("a", "b:int", "c")), *texts) == [
        {"a": "x", "b": 5, "c": 'q "r", s'},
        {},
        {"a": "a"},
        {},
        {},
    ]
    assert parsed(step("csv", columns=("a", "b"), delimiter="|"), '1|"2|3"') == [{"a": "1", "b": "2|3"}]


def test_a_text_that_its_type_does_not_hold_is_rescued_not_rounded() -> None:
    csv = step("csv", columns=("a", "b:int", "c:float", "d:boolean"))
    grok = step("grok", pattern="%{WORD:a},%{NOTSPACE:b:int}")
    for parse, text, held, lost in (
        (csv, "x,2.7,1e400,maybe", {"a": "x"}, {"event.b": "2.7", "event.c": "1e400", "event.d": "maybe"}),
        (csv, "x, 2.0 ,1,t", {"a": "x", "b": 2, "c": 1.0, "d": True}, {}),
        (csv, "x,,,", {"a": "x"}, {}),
        (grok, "x,99999999999999999999", {"a": "x"}, {"event.b": "99999999999999999999"}),
    ):
        (row,) = process(Stream(id="x", steps=(parse,)), [{"source": "a", "event": {"message": text}}])["lake"]
        assert {name: value for name, value in row["event"].items() if name != "message" and value is not None} == held
        assert json.loads(f"{{{row['_extra'] or ''}}}") == lost


def test_syslog_without_a_host_with_an_address_for_one_and_as_cisco_writes_it() -> None:
    local, six, cisco = parsed(
        step("syslog", into="event.s"),
        "<34>Oct 11 22:14:15 su: 'su root' failed",
        "<34>Oct 11 22:14:15 2001:db8::1 app[1]: hi",
        "<189>Mar  1 2021 18:46:11 fw : %ASA-6-302013: Built",
    )
    assert ("hostname" in local["s"], local["s"]["appname"], local["s"]["message"]) == (False, "su", "'su root' failed")
    assert (six["s"]["hostname"], six["s"]["appname"]) == ("2001:db8::1", "app")
    assert (cisco["s"]["hostname"], cisco["s"]["appname"], cisco["s"]["message"]) == ("fw", "%ASA-6-302013", "Built")


def test_times_as_mail_and_other_programs_write_them() -> None:
    newyear = at(2024, 1, 1)
    for format_, text in (
        ("rfc2822", "Mon, 1 Jan 2024 01:00:00 +0100 (CET)"),
        ("rfc2822", "31 Dec 2023 19:00 EST"),
        ("%a, %d %b %Y %H:%M:%S %z", "Mon, 01 Jan 2024 00:00:00 GMT"),
        ("%Y-%m-%dT%H:%M:%S.%f%z", "2024-01-01T00:00:00.000000789Z"),
        ("ISO8601", "2024-01-01"),
        ("iso8601", "2023-12-31T23:59:60Z"),
    ):
        assert parsed(step("timestamp", format=format_, into="event.t"), text) == [{"t": newyear}], text
    assert parsed(
        step("timestamp", format="rfc2822", into="event.t"), "1 Jan 2024 00:00:00", "1 Jan 2024 00:00:00 QQ"
    ) == [
        {},
        {},
    ]
    berlin = step("timestamp", timezone="Europe/Berlin", into="event.t")
    assert parsed(berlin, "2024-01-01") == [{"t": at(2023, 12, 31, 23)}]


def test_syslog_of_both_rfcs() -> None:
    new = '<165>1 2003-10-11T22:14:15.003Z host.example.com evntslog - ID47 [ex@1 iut="3" q="\\"x\\""] An entry'
    assert parsed(step("syslog", into="event.s"), new, "<13>Oct 22 18:24:01 web sshd[12]: hi: there", "zz") == [
        {
            "s": {
                "priority": 165,
                "facility": "local4",
                "severity": "notice",
                "version": 1,
                "timestamp": at(2003, 10, 11, 22, 14, 15, 3000),
                "hostname": "host.example.com",
                "appname": "evntslog",
                "msgid": "ID47",
                "structured_data": '{"ex@1":{"iut":"3","q":"\\"x\\""}}',
                "message": "An entry",
            }
        },
        {
            "s": {
                "priority": 13,
                "facility": "user",
                "severity": "notice",
                "timestamp": at(2024, 10, 22, 18, 24, 1),
                "hostname": "web",
                "appname": "sshd",
                "procid": "12",
                "message": "hi: there",
            }
        },
        {},
    ]


def test_cef() -> None:
    text = r"Sep 19 host CEF:0|Security|thr\|eat|1.0|100|worm stopped|10|src=10.0.0.1 msg=a b \= c spt=1232"
    (found, none) = parsed(step("cef"), text, "CEF:0|too|short")
    assert found == {
        "cefVersion": "0",
        "deviceVendor": "Security",
        "deviceProduct": "thr|eat",
        "deviceVersion": "1.0",
        "deviceEventClassId": "100",
        "name": "worm stopped",
        "severity": "10",
        "src": "10.0.0.1",
        "msg": "a b = c",
        "spt": "1232",
    }
    assert none == {}


def test_cef_without_an_extension_or_with_backslashes_that_escape_nothing() -> None:
    header = "CEF:0|V|P|1|id|n|"
    texts = [
        f"{header}5|",
        f"{header}5",
        f"{header}5|   ",
        rf"{header}5|path=C:\Windows a\=b url=x\ny",
        f"{header}5|loose text",
    ]
    bare, ended, blank, escaped, loose = parsed(step("cef"), *texts)
    assert bare == ended == blank
    assert (bare["severity"], len(bare)) == ("5", 7)
    assert (escaped["path"], escaped["url"]) == (r"C:\Windows a=b", "x\ny")
    assert loose == {}


def test_urls_and_query_strings() -> None:
    found = parsed(step("url", into="event.u"), "https://u:p@Ex.com:8443/a?x=1&y=%20#f", "no url", "http://[::1]/")
    assert found == [
        {
            "u": {
                "scheme": "https",
                "username": "u",
                "password": "p",
                "host": "ex.com",
                "port": 8443,
                "path": "/a",
                "query": '{"x":"1","y":" "}',
                "fragment": "f",
            }
        },
        {},
        {"u": {"scheme": "http", "host": "[::1]", "path": "/"}},
    ]
    assert parsed(step("query_string", into="event.q"), "x=1&y=a+b") == [{"q": {"x": "1", "y": "a b"}}]


def test_user_agents() -> None:
    chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
    (found, none) = parsed(step("user_agent", into="event.ua"), chrome, "zzz")
    assert found["ua"]["browser"] == {"family": "Chrome", "version": "120.0.0.0"}
    assert found["ua"]["os"] == {"family": "Windows", "version": "10"}
    assert none == {}


@pytest.mark.parametrize(
    ("form", "text", "moment"),
    [
        ("iso8601", "2015-07-29 17:41:44,747", at(2015, 7, 29, 17, 41, 44, 747000)),
        ("iso8601", "20250212T143215Z", at(2025, 2, 12, 14, 32, 15)),
        ("unix", 1732365000.5, at(2024, 11, 23, 12, 30, 0, 500000)),
        ("unix_ms", 1732365000500, at(2024, 11, 23, 12, 30, 0, 500000)),
        ("unix_us", "1732365000500000", at(2024, 11, 23, 12, 30, 0, 500000)),
        ("unix_ns", "1732365000500000999", at(2024, 11, 23, 12, 30, 0, 500000)),
        ("%d/%b/%Y:%H:%M:%S %z", "10/Oct/2000:13:55:36 -0700", at(2000, 10, 10, 20, 55, 36)),
        (("unix", "syslog"), "Dec  9 01:02:03", at(2024, 12, 9, 1, 2, 3)),
        ("syslog", "Jan  2 01:02:03", at(2025, 1, 2, 1, 2, 3)),
        ("syslog", "Jul 28 01:02:03", at(2024, 7, 28, 1, 2, 3)),
        ("syslog", "Feb 29 01:02:03", at(2024, 2, 29, 1, 2, 3)),
    ],
)
def test_a_time_in_its_form(form: Any, text: object, moment: datetime) -> None:
    assert parsed(step("timestamp", format=form, into="event.t"), text) == [{"t": moment}]


def test_a_time_becomes_the_event_s_own() -> None:
    stream = Stream(
        id="x", steps=(step("timestamp", format="%Y-%m-%d %H:%M", timezone="Europe/Berlin", into="timestamp"),)
    )
    events = [{"source": "a", "event": {"message": text}} for text in ("2024-01-01 00:30", "no time")]
    rows = process(stream, events)["lake"]
    assert [row["timestamp"] for row in rows] == [at(2023, 12, 31, 23, 30), at(2024, 11, 23, 12, 30)]
    assert [str(row["date"]) for row in rows] == ["2023-12-31", "2024-11-23"]


def test_what_gives_way_to_a_part_is_rescued() -> None:
    stream = Stream(id="x", steps=(step("regex", pattern=r"(?<b>\w+)=", into="event.a"),))
    rows = process(stream, [{"source": "s", "event": {"message": "k=", "a": 5}}])["lake"]
    assert rows[0]["event"] == {"message": "k=", "a": {"b": "k"}}
    assert rows[0]["_extra"] == '"event.a":5'


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_on_error_drop_and_dead_letter_touch_only_what_cannot_be_read(kind: str) -> None:
    more = {"columns": ("a",)} if kind == "csv" else {}
    events = [
        {"source": "s", "event": event}
        for event in ({"message": "1,2"}, {"message": '{"a":1}' if kind == "json" else "1"}, {"n": 1})
    ]
    for fate in ("drop", "dead_letter"):
        outcome = process(Stream(id="x", steps=(step(kind, on_error=fate, **more), Drop(("event.message",)))), events)
        assert [row["event_id"] for row in outcome["lake"]] == ["r-1", "r-2"]
        letters = outcome.get(SET_ASIDE, [])
        assert [(letter["event_id"], letter["step"], letter["index"]) for letter in letters] == (
            [("r-0", "steps[0].parse", 0)] if fate == "dead_letter" else []
        )
        for letter in letters:
            assert re.search(r'"message":"1,2"', letter["payload"])
            assert "event.message cannot be read as" in letter["error"]


def test_an_event_that_was_dropped_before_is_no_dead_letter() -> None:
    outcome = process(
        Stream(id="x", steps=(Filter("false"), step("json", on_error="dead_letter"))),
        [{"source": "s", "event": {"message": "no"}}],
    )
    assert outcome == {}
