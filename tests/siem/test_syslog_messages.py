"""What a row looks like as a syslog message: RFC 5424 to the letter, whatever is in the event."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sinks.phrase import phrase
from connectors.sinks.syslog.frames import Frames
from connectors.sinks.syslog.settings import Cef, SyslogDestination
from connectors.values import Secret
from tests.sinks.sending import event, ids, rows_of

TIME = "2025-02-12T14:32:15.500000Z"

# RFC 5424, section 6, written out anew and not taken from the code under test.
_MESSAGE = re.compile(
    rb"<(?P<pri>0|[1-9]\d{0,2})>1 (?P<time>\S+) (?P<host>[!-~]{1,255}) (?P<app>[!-~]{1,48}) (?P<procid>[!-~]{1,128})"
    rb' (?P<msgid>[!-~]{1,32}) (?P<sd>\[[!-~]{1,32}?(?: [!-~]{1,32}?="(?:[^"\\\]]|\\["\\\]])*")*\]) (?P<msg>.*)',
    re.DOTALL,
)
_PARAM = re.compile(rb' ([!-~]{1,32}?)="((?:[^"\\\]]|\\["\\\]])*)"')


def messages(rows: pa.Table, **more: Any) -> list[dict[str, Any]]:
    """The parts of each message; the frames must be exactly octet-counted (RFC 6587, 3.4.1)."""
    made, count, refusals = Frames(SyslogDestination(address="tcp://h:1", **more)).of("payments", rows)
    assert refusals == []
    data, found = bytes(made), []
    while data:
        length, _, data = data.partition(b" ")
        size = int(length)
        assert length == str(size).encode()
        assert len(data) >= size
        message = _MESSAGE.fullmatch(data[:size])
        assert message is not None, data[:size]
        parts: dict[str, Any] = message.groupdict()
        parts["params"] = {
            name.decode(): re.sub(rb"\\(.)", rb"\1", value).decode() for name, value in _PARAM.findall(parts["sd"])
        }
        found.append(parts)
        data = data[size:]
    assert len(found) == count == rows.num_rows
    return found


def one(event_fields: dict[str, Any] | None = None, /, **more: Any) -> dict[str, Any]:
    [message] = messages(rows_of([event(1, **(event_fields or {}))]), **more)
    return message


def test_a_message_with_nothing_set() -> None:
    rows = rows_of([event(1)])
    [message] = messages(rows)
    assert message["pri"] == b"14"  # user, info
    assert message["time"].decode() == TIME
    assert message["host"].decode() == socket.gethostname()
    assert message["app"] == b"app"
    assert message["procid"] == b"-"
    assert message["msgid"] == b"payments"
    assert message["sd"].startswith(b"[headrace@32473 ")
    assert message["params"] == {"event_id": ids(rows)[0], "stream": "payments"}
    document = json.loads(message["msg"])
    assert document["event"] == {"n": 1}
    assert document["event_id"] == ids(rows)[0]


@pytest.mark.parametrize(
    ("facility", "severity", "pri"),
    [
        ("kern", "emerg", 0),
        ("local7", "debug", 191),
        ("local0", "{event.level}", 16 * 8 + 4),
        ("16", "3", 16 * 8 + 3),
        ("{event.facility}", "info", 10 * 8 + 6),
        ("{event.level}", "{event.facility}", 1 * 8 + 6),  # neither is one: user, info
        ("{event.absent}", "{event.absent}", 1 * 8 + 6),
        ("user", "{event.code}", 1 * 8 + 2),
    ],
)
def test_facility_and_severity_are_constants_or_the_events(facility: str, severity: str, pri: int) -> None:
    fields = {"level": "WARN", "facility": "authpriv", "code": 2}
    assert one(fields, facility=facility, severity=severity)["pri"] == str(pri).encode()


def test_header_fields_keep_to_what_the_protocol_allows() -> None:
    fields = {"host": "höst one\n", "long": "a" * 300, "empty": ""}
    message = one(
        fields, hostname="{event.host}", app_name="{event.long}", procid="{event.empty}", msgid="{event.none}"
    )
    assert message["host"] == b"h_st_one_"
    assert message["app"] == b"a" * 48
    assert message["procid"] == b"-"
    assert message["msgid"] == b"-"


def test_structured_data_carries_what_is_asked_for() -> None:
    fields = {"user": 'a"b]c\\d', "n2": 5, "deep": {"er": True}}
    added = {"user": "{event.user}", "both": "{source}/{event.n2}", "er": "{event.deep.er}", "none": "{event.none}"}
    message = one(fields, sd_id="ours@41058", structured_data=added)
    assert message["sd"].startswith(b"[ours@41058 ")
    params = {name: value for name, value in message["params"].items() if name in added}
    assert params == {"user": 'a"b]c\\d', "both": "app/5", "er": "true"}


@pytest.mark.parametrize(
    ("bom", "ascii_has", "other_has"),
    [("needed", False, True), ("always", True, True), ("never", False, False)],
)
def test_the_byte_order_mark_is_before_what_is_not_ascii(bom: str, ascii_has: bool, other_has: bool) -> None:
    mark = "\ufeff".encode()
    assert one({"t": "plain"}, bom=bom)["msg"].startswith(mark) is ascii_has
    assert one({"t": "größe"}, bom=bom)["msg"].startswith(mark) is other_has


def test_the_text_of_a_field_can_be_the_message_and_json_stands_in_for_it() -> None:
    rows = rows_of([event(1, message="line one\nline two"), event(2)])
    first, second = messages(rows, body="message")
    assert first["msg"] == b"line one\nline two"
    assert json.loads(second["msg"])["event"] == {"n": 2}


def test_cef_escapes_what_it_must() -> None:
    fields = {"name": "a|b\\c\nd", "sev": 7, "who": "x=y\\z\nw", "none": None}
    cef = Cef(
        vendor="Ac|me", name="{event.name}", severity="{event.sev}",
        extensions={"suser": "{event.who}", "src": "{event.none}", "cs1": "{event.n}"},
    )  # fmt: skip
    rows = rows_of([event(1, **fields)])
    [message] = messages(rows, body="cef", cef=cef)
    expected = (
        r"CEF:0|Ac\|me|headrace|1|payments|a\|b\\c d|7|"
        rf"rt=1739370735500 externalId={ids(rows)[0]} suser=x\=y\\z\nw cs1=1"
    )
    assert message["msg"].decode() == expected


def test_cef_without_extensions_has_the_event_and_an_unknown_severity_is_said() -> None:
    message = one({"sev": "12"}, body="cef", cef=Cef(severity="{event.sev}"))["msg"].decode()
    assert "|Unknown|rt=" in message
    assert r'msg={"event_id":' in message


@settings(max_examples=15)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=40))
def test_nothing_in_an_event_breaks_out_of_its_place(texts: Sequence[str]) -> None:
    rows = rows_of([event(1, t=text) for text in texts])
    names = {
        "hostname": "{event.t}",
        "app_name": "{event.t}",
        "msgid": "{event.t}",
        "structured_data": {"t": "{event.t}"},
    }
    for text, message in zip(texts, messages(rows, max_bytes=1_000_000, **names), strict=True):
        cleaned = re.sub(r"[\x00-\x1f\x7f]", " ", text)
        assert message["params"].get("t", "") == cleaned
        assert json.loads(message["msg"].removeprefix("\ufeff".encode()))["event"]["t"] == text
    for message in messages(
        rows, body="cef", max_bytes=1_000_000, cef=Cef(name="{event.t}", extensions={"m": "{event.t}"})
    ):
        text = message["msg"].removeprefix("\ufeff".encode()).decode()
        assert len(re.split(r"(?<!\\)(?:\\\\)*\|", text.partition(" rt=")[0])) >= 1
        assert "\n" not in text
        assert "\r" not in text


def test_a_fields_value_is_text_whatever_its_type() -> None:
    mixed = [event(1, a=1, b=[1, 2], c={"x": None, "y": 1}, d=1.5), event(2, a="t", b=True)]
    first, second = messages(rows_of(mixed), structured_data={k: f"{{event.{k}}}" for k in "abcd"})
    assert first["params"]["a"] == "1"
    assert second["params"]["a"] == "t"
    assert json.loads(first["params"]["b"]) == [1, 2]
    assert second["params"]["b"] == "true"
    assert json.loads(first["params"]["c"])["y"] == 1
    assert first["params"]["d"] == "1.5"
    assert "d" not in second["params"]


def test_a_rollups_row_is_a_message_too() -> None:
    start = pa.array([1_739_370_720_000_000], pa.timestamp("us", "UTC"))
    rows = pa.table({"window_start": start, "events": [3], "_offset": [1]})
    [message] = messages(rows)
    assert message["time"] == b"2025-02-12T14:32:00.000000Z"
    assert re.fullmatch("[0-9a-f]{64}", message["params"]["event_id"])
    assert json.loads(message["msg"])["events"] == 3
    assert message["app"] == b"-"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"address": "siem:6514"}, "neither tcp:// nor tls://"),
        ({"address": "udp://siem:514"}, "neither tcp:// nor tls://"),
        ({"address": "tls://siem:70000"}, "no number of 1–65535"),
        ({"address": "tls://siem:6514/path"}, "not a host and a port alone"),
        ({"address": "tcp://siem:1", "ca_file": Path("ca.pem")}, "ca_file: means nothing without TLS"),
        ({"client_key": Path("k")}, "no client_cert"),
        ({"facility": "local9"}, "facility: unknown 'local9'"),
        ({"severity": "loud"}, "severity: unknown 'loud'"),
        ({"hostname": "{host}"}, None),
        ({"hostname": "{event.host"}, "hostname: .*a brace belongs to a field"),
        ({"app_name": "{evnt.app}"}, "app_name: .*a row has event"),
        ({"sd_id": "two words@1"}, "sd_id"),
        ({"structured_data": {"event_id": "x"}}, "cannot be used"),
        ({"structured_data": {"a b": "x"}}, "cannot be used"),
    ],
)
def test_settings_that_cannot_be_are_told(given: dict[str, Any], says: str | None) -> None:
    settings_of = {"address": "tls://siem:6514", **given}
    if says is None:
        SyslogDestination(**settings_of)
        return
    with pytest.raises(ValueError, match=says):
        SyslogDestination(**settings_of)


def test_a_phrase_shows_no_secret() -> None:
    with pytest.raises(ValueError, match=r"\$\{X\}") as caught:
        phrase(Secret("{very secret", "${X}"))
    assert "very" not in str(caught.value)


def test_a_cef_key_that_is_none_is_told() -> None:
    with pytest.raises(ValueError, match="no CEF key"):
        Cef(extensions={"a b": "x"})
