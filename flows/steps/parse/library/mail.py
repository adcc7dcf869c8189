"""Exim's main log."""

from __future__ import annotations

_BASE = {
    "EXIM_MSGID": r"(?:[0-9A-Za-z]{6}-[0-9A-Za-z]{6}-[0-9A-Za-z]{2}|[0-9A-Za-z]{6}-[0-9A-Za-z]{11}-[0-9A-Za-z]{4})",
    "EXIM_FLAGS": r"(?:<=|=>|->|\*>|\*\*|==|<>|>>)",
    "EXIM_QT": r"(?:(?:\d+y)?(?:\d+w)?(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+s)?)",
    "EXIM_EXCLUDE_TERMS": (
        r"(?:Message is frozen|(?:Start|End) queue run| Warning: | retry time not reached "
        r"| no (?:IP address|host name) found for (?:IP address|host) | unexpected disconnection while reading SMTP command"
        r"|no immediate delivery: |another process is handling this message)"
    ),
    "EXIM_QUOTED_CONTENT": r'(?:\\.|[^\\"])*',
}


def _exim(names: dict[str, str]) -> dict[str, str]:
    patterns = {
        "EXIM_DATE": r"%{YEAR:@year}-%{MONTHNUM:@month}-%{MONTHDAY:@day} %{TIME:@time}",
        "EXIM_PID": r"\[%{POSINT:@pid}\]",
        "EXIM_REMOTE_HOST": (
            r"H=(?:%{NOTSPACE:@hostname} )?(?:\(%{NOTSPACE:@heloname}\) )?\[%{IP:@host}\](?::%{POSINT:@port})?"
        ),
        "EXIM_INTERFACE": r"I=\[%{IP:@interface}\](?::%{NUMBER:@interface_port})",
        "EXIM_PROTOCOL": r"P=%{NOTSPACE:@protocol}",
        "EXIM_MSG_SIZE": r"S=%{NUMBER:@msg_size}",
        "EXIM_HEADER_ID": r"id=%{NOTSPACE:@header_id}",
        "EXIM_SUBJECT": r"T=@subject",
        "EXIM_UNKNOWN_FIELD": r'(?:[A-Za-z0-9]{1,4}=(?:"%{EXIM_QUOTED_CONTENT}"|%{NOTSPACE}))',
        "EXIM_MESSAGE_ARRIVAL": (
            r"(?:%{EXIM_DATE}|@whole)(?: %{EXIM_PID})? %{EXIM_MSGID:@msgid} (?<@flags><=) %{NOTSPACE:@sender}"
            r"(?: (?:%{EXIM_REMOTE_HOST}|%{EXIM_INTERFACE}|%{EXIM_PROTOCOL}|%{EXIM_MSG_SIZE}|%{EXIM_HEADER_ID}"
            r"|%{EXIM_SUBJECT}|%{EXIM_UNKNOWN_FIELD}))*"
        ),
        "EXIM": r"%{EXIM_MESSAGE_ARRIVAL}",
    }
    for name in sorted(names, key=len, reverse=True):
        patterns = {key: text.replace(f"@{name}", names[name]) for key, text in patterns.items()}
    return _BASE | patterns


LEGACY: dict[str, str] = _exim(
    {
        "year": "exim_year", "month": "exim_month", "day": "exim_day", "time": "exim_time", "pid": "pid",
        "hostname": "remote_hostname", "heloname": "remote_heloname", "host": "remote_host", "port": "remote_port",
        "interface": "exim_interface", "interface_port": "exim_interface_port", "protocol": "protocol",
        "msg_size": "exim_msg_size", "header_id": "exim_header_id", "subject": "%{QS:exim_subject}",
        "msgid": "exim_msgid", "flags": "exim_flags", "sender": "exim_sender_email",
        "whole": "%{TIMESTAMP_ISO8601:timestamp}",
    }
)  # fmt: skip

ECS: dict[str, str] = _exim(
    {
        "year": "[exim][log][year]", "month": "[exim][log][month]", "day": "[exim][log][day]",
        "time": "[exim][log][time]", "pid": "[process][pid]:int", "hostname": "[source][address]",
        "heloname": "[exim][log][remote_heloname]", "host": "[source][ip]", "port": "[source][port]:int",
        "interface": "[destination][ip]", "interface_port": "[destination][port]:int", "protocol": "[network][protocol]",
        "msg_size": "[exim][log][message][size]:int", "header_id": "[exim][log][header_id]",
        "subject": '"%{EXIM_QUOTED_CONTENT:[exim][log][message][subject]}"', "msgid": "[exim][log][message][id]",
        "flags": "[exim][log][flags]", "sender": "[exim][log][sender][email]",
        "whole": "%{TIMESTAMP_ISO8601:timestamp}",
    }
) | {"EXIM_DATE": r"(?<timestamp>%{YEAR}-%{MONTHNUM}-%{MONTHDAY} %{TIME})"}  # fmt: skip
